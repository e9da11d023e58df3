package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// raised is how far restore lifts the numbers of events.
const raised = 1_000_000

func TestBackupAndRestore(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	p := s.signedIn()
	id := p.launchRun("gated", map[string]any{"url": w.URL})
	p.status(id, "waiting-approval")
	saved := p.history(id)

	_, errOut, code := s.cli("backup", s.path("backup.db"))
	require.Zero(t, code, errOut)

	// The run goes on after the backup; a client sees events that restore will undo.
	require.NoError(t, p.decide(id, "gate", true))
	p.status(id, "finished")
	all := p.history(id)
	cursor := all[len(all)-1].Seq
	require.Greater(t, cursor, saved[len(saved)-1].Seq)

	_, errOut, code = s.cli("restore", s.path("backup.db"))
	require.NotZero(t, code, "a gateway runs on it")
	require.Contains(t, errOut, "smithers.db")
	p.terminate()
	_, errOut, code = s.cli("restore", s.path("backup.db"))
	require.Zero(t, code, errOut)

	p = s.start().as(p.Token)
	p.status(id, "waiting-approval")
	require.NoError(t, p.decide(id, "gate", false))
	p.status(id, "finished")

	// The client's number now means nothing: it is told so exactly, and gets no event
	// that only looks like the next one.
	events, gap := p.after(id, cursor)
	require.NotNil(t, gap)
	require.Equal(t, cursor+1, gap.FromSeq)
	require.GreaterOrEqual(t, gap.ToSeq, int64(raised))
	require.NotEmpty(t, events)
	require.Equal(t, "approval.decided", events[0].Event)
	require.Contains(t, string(events[0].Payload), `"approved":false`)

	// What the backup held is still there under its numbers.
	before := p.upTo(id, saved[len(saved)-1].Seq)
	require.Equal(t, names(saved), names(before))

	// The former database stays beside the restored one.
	require.FileExists(t, s.path("smithers.db.before-restore"))
}

// The help and the version are the gateway's, not plain Caddy's.
func TestHelpAndVersionNameTheGateway(t *testing.T) {
	s := newSite(t)
	out, errOut, code := s.cli("--help")
	require.Zero(t, code, errOut)
	require.Contains(t, out, "durable agent workflows")
	out, errOut, code = s.cli("runs", "list", "--help")
	require.Zero(t, code, errOut)
	require.Contains(t, out, "smithers-gateway runs list")
	require.NotContains(t, out, "caddy runs")
	out, _, code = s.cli("version")
	require.Zero(t, code)
	require.Regexp(t, `^\d+\.\d+\.\d+\S* v2\.`, out)
}

func TestModuleCheck(t *testing.T) {
	s := newSite(t)
	out, errOut, code := s.cli("module", "check", s.module)
	require.Zero(t, code, errOut)
	for _, key := range []string{"quick", "steps", "gated"} {
		require.Contains(t, out, key)
	}
	bad := s.write("workspace/bad.mjs", "export function register(gateway) {\n  gateway.nonsense();\n}\n")
	_, errOut, code = s.cli("module", "check", bad)
	require.NotZero(t, code)
	require.True(t, strings.Contains(errOut, "bad.mjs:2"), errOut)
}
