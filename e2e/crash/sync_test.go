package crash

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const speaking = `export function register(gateway) {
  gateway.register("speak", async (ctx) => {
    for (let i = 0; i < 10; i++) {
      await ctx.task("say-" + i, async ({ log }) => { await log("[" + ctx.input.word + "-" + i + "]"); });
    }
    await ctx.approval("gate", {});
    await ctx.signal("go", { correlationId: "corr-" + ctx.input.word });
    await ctx.approval("last", {});
  });
}
`

// TestNothingIsSaidBeforeItIsSynced traces the system calls of the gateway: between
// the write to the log and every acknowledgement or event there is a data sync.
func TestNothingIsSaidBeforeItIsSynced(t *testing.T) {
	rig.Need(t, canTrace(t), "strace and the right to use it")
	s := rig.NewSite(t, speaking)
	s.DB = filepath.Join(t.TempDir(), "smithers.db") // not watched with the tokens
	trace := filepath.Join(t.TempDir(), "trace")
	s.Wrap = []string{
		"strace", "-f", "-y", "-s", "65536", "-e", "signal=none", "-o", trace,
		"-e", "trace=read,write,writev,pwrite64,pwritev,fsync,fdatasync,sendto,sendmsg,recvfrom",
	}
	p := s.Start().As(s.Issue(rig.AllScopes, "alice")).Accepts()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	call := func(method string, params map[string]any) {
		t.Helper()
		require.NoError(t, p.Call(ctx, method, params, nil))
	}
	socket := p.Dial()
	follow := func(stream, until string) {
		t.Helper()
		require.NoError(t, socket.Follow(ctx, stream, func(i client.Item) bool {
			require.NotNil(t, i.Event)
			return !strings.Contains(i.Event.Event+string(i.Event.Payload), until)
		}))
	}
	const runs = 3
	for n := range runs {
		word := fmt.Sprintf("word%d", n)
		id := "run-" + word
		call("launchRun", map[string]any{"workflow": "speak", "runId": id, "input": map[string]any{"word": word}})
		stream, err := socket.Stream(ctx, id, new(int64))
		require.NoError(t, err)
		follow(stream.StreamID, "waiting_approval")
		p.Status(id, "waiting-approval")
		call("submitApproval", map[string]any{"runId": id, "nodeId": "gate", "approved": true, "note": "note-" + word})
		p.Status(id, "waiting-event")
		call("submitSignal", map[string]any{"runId": id, "signalName": "go", "correlationId": "corr-" + word, "data": map[string]any{"payload-" + word: 1}})
		p.Status(id, "waiting-approval")
		call("cancelRun", map[string]any{"runId": id})
		follow(stream.StreamID, "run.completed")
	}
	p.Kill()

	file, err := os.Open(trace)
	require.NoError(t, err)
	defer file.Close()
	calls, err := readTrace(file)
	require.NoError(t, err)
	checked := 0
	check := func(asked, stored, shown string) {
		t.Helper()
		checked++
		require.NoError(t, durable(calls, asked, stored, shown))
	}
	for n := range runs {
		word := fmt.Sprintf("word%d", n)
		check(`\"runId\":\"run-`+word, "run-"+word, `\"workflow\":\"speak\"`)
		for i := range 10 {
			said := fmt.Sprintf("[%s-%d]", word, i)
			check("", said, said)
		}
		check("note-"+word, "note-"+word, `\"approved\":true`)
		check("payload-"+word, "payload-"+word, `\"receivedAtMs\"`)
		if n == 0 { // nothing but its place tells the first from the others
			check("cancelRun", "", `\"terminalStatus\":\"cancelled\"`)
		}
	}
	t.Logf("%d system calls; %d acknowledgements and events, each behind a sync of what it tells", len(calls), checked)
}

func canTrace(t *testing.T) bool {
	if _, err := exec.LookPath("strace"); err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	return exec.CommandContext(ctx, "strace", "-f", "-o", os.DevNull, "true").Run() == nil
}

func TestTraceTellsTooEarly(t *testing.T) {
	good := `11 read(5<socket:[1]>, "ask-a", 100) = 5
12 pwrite64(9</d/s.db-wal>, "row-a", 5, 0 <unfinished ...>
11 read(5<socket:[1]>, 0x1, 100) = -1 EAGAIN (Resource temporarily unavailable)
12 <... pwrite64 resumed>) = 5
12 fsync(9</d/s.db-wal> <unfinished ...>
11 write(6<socket:[2]>, "other", 5) = 5
12 <... fsync resumed>) = 0
11 write(5<socket:[1]>, "told-a", 6) = 6
`
	swap := func(a, b string) string {
		return strings.NewReplacer(a, b, b, a).Replace(good)
	}
	parse := func(text string) []call {
		calls, err := readTrace(strings.NewReader(text))
		require.NoError(t, err)
		return calls
	}
	require.NoError(t, durable(parse(good), "ask-a", "row-a", "told-a"))
	for name, text := range map[string]string{
		"told before the sync ends":   swap("other", "told-a"),
		"sync of another file":        strings.Replace(good, "fsync(9</d/s.db-wal>", "fsync(9</d/s.db>", 1),
		"failed sync":                 strings.Replace(good, "12 <... fsync resumed>) = 0", "12 <... fsync resumed>) = -1 EIO (x)", 1),
		"sync before the write":       strings.Replace(good, "row-a", "row-b", 1) + "12 pwrite64(9</d/s.db-wal>, \"row-a\", 5, 0) = 5\n",
		"sync begins before it ended": strings.Replace(strings.Replace(good, "12 fsync", "13 fsync", 1), "12 <... pwrite64 resumed>) = 5\n", "", 1),
	} {
		require.Error(t, durable(parse(text), "ask-a", "row-a", "told-a"), name)
	}
}
