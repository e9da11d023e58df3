package observe

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const module = `
export function register(gateway) {
  gateway.register("quick", async (ctx) => ctx.task("t", async () => 1), { schedule: "* * * * * *" });
  gateway.register("bad", async () => { throw new Error("as it should"); });
  gateway.register("gated", async (ctx) => {
    await ctx.approval("gate", { title: "Go on?" });
    return ctx.signal("go");
  });
  gateway.register("hook", async () => ({}), { webhook: { secret: "whsec" } });
  gateway.register("open", async () => ({}), { webhook: { secret: "" } });
  more(gateway);
}
`

// What the module registers at first, and when a schedule of it is there.
const (
	gone  = `const more = (gateway) => gateway.register("gone", async () => ({}));`
	stays = `const more = () => {};`
)

// beating is the config with another setting, so that it is put in force.
func beating(config string, seconds int) string {
	return strings.Replace(config, "public_metrics on", fmt.Sprintf("public_metrics on\n\t\theartbeat %ds", seconds), 1)
}

// once causes what shall happen one time: a schedule of a workflow that goes, and a reload
// that is refused.
func once(t *testing.T, p *rig.Process, s *rig.Site, config string) {
	t.Helper()
	require.NoError(t, p.Call(t.Context(), "cronCreate", map[string]any{"workflow": "gone", "pattern": "* * * * * *"}, nil))
	s.Write("workspace/gateway.mjs", module+stays)
	require.NoError(t, p.Load(beating(config, 20)))
	s.Write("workspace/gateway.mjs", "export function register( {")
	require.Error(t, p.Load(beating(config, 21)))
	s.Write("workspace/gateway.mjs", module+stays)
}

// pressure keeps four clients launching and following runs until the test ends, and
// returns a count of the runs.
func pressure(t *testing.T, p *rig.Process) (runs func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	var ended atomic.Int64
	for worker := range 4 {
		work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := few(ctx, p, fmt.Sprintf("w%d-%d", worker, n), &ended); err != nil && ctx.Err() == nil {
					t.Errorf("a client under load: %v", err)
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return ended.Load
}

// few launches some runs on a socket of its own and follows each to its end.
func few(ctx context.Context, p *rig.Process, name string, ended *atomic.Int64) error {
	socket, err := p.Client.Dial(ctx, client.DialOptions{})
	for rig.Lost(err) && ctx.Err() == nil { // by a reload, as rig.Steady says
		socket, err = p.Client.Dial(ctx, client.DialOptions{})
	}
	if err != nil {
		return err
	}
	defer socket.Cut()
	for n := range 8 {
		id, from := fmt.Sprintf("%s-%d", name, n), int64(0)
		if err := socket.Call(ctx, "launchRun", map[string]any{"workflow": "quick", "options": map[string]any{"runId": id}}, nil); err != nil {
			return err
		}
		opened, err := socket.Stream(ctx, id, &from)
		if err != nil {
			return err
		}
		err = socket.Follow(ctx, opened.StreamID, func(i client.Item) bool { return i.Event == nil || i.Event.Event != "run.completed" })
		if err != nil {
			return err
		}
		ended.Add(1)
	}
	return nil
}

// events causes what the counters count.
func events(t *testing.T, p *rig.Process, round string) {
	t.Helper()
	ctx := t.Context()
	socket := p.Dial()
	require.NoError(t, socket.Call(ctx, "listRuns", map[string]any{"limit": 10}, nil))
	require.NoError(t, socket.Close())
	p.LaunchRun("bad", "b"+round, nil)
	p.LaunchRun("gated", "g"+round, nil)
	p.Status("g"+round, "waiting-approval")
	require.NoError(t, p.Call(ctx, "submitApproval", map[string]any{"runId": "g" + round, "nodeId": "gate", "approved": true}, nil))
	require.NoError(t, p.Call(ctx, "submitSignal", map[string]any{"runId": "g" + round, "signalName": "go", "payload": 1}, nil))
	p.Status("b"+round, "failed")
	require.NoError(t, p.Call(ctx, "cronRun", map[string]any{"workflow": "quick"}, nil))
	for range 3 {
		require.Error(t, p.As("nobody").Call(ctx, "listRuns", nil, nil))
	}
	require.Equal(t, http.StatusUnauthorized, deliver(t, p, "hook", "sha256=00"))
	require.Equal(t, http.StatusOK, deliver(t, p, "hook", sign("{}")))
	require.Equal(t, http.StatusInternalServerError, deliver(t, p, "open", sign("{}")), "a secret that is not there")
}

// deliver sends an empty object to the webhook of a workflow.
func deliver(t *testing.T, p *rig.Process, workflow, signature string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/webhooks/"+workflow, strings.NewReader("{}"))
	require.NoError(t, err)
	req.Header.Set("X-Hub-Signature-256", signature)
	res, err := p.HTTP.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// sign is the signature of a webhook's body.
func sign(body string) string {
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
