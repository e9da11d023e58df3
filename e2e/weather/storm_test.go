// Package weather takes the storage away from a working gateway and gives it back.
package weather

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// storm drives a gateway with clients, makes commits fail for a while by begin, undoes
// that by what begin returns, and judges that the clients lost nothing but time.
func storm(t *testing.T, s *rig.Site, lasting time.Duration, begin func(p *rig.Process) (end func())) {
	t.Helper()
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	token := s.Issue(rig.AllScopes, "alice")
	fleet := load.NewFleet(s, ledger, token, 1)
	p := s.Start().As(token).Accepts()
	known := "before-the-storm"
	p.LaunchRun("signalled", known, map[string]any{"url": ledger.URL, "corr": known})
	p.Status(known, "waiting-event")
	fleet.Start(6)
	p.Wait("the first runs", func() bool { return fleet.Runs() > 6 })

	calm := begin(p)
	since := time.Now()
	p.Wait("readiness to turn false", func() bool { return p.Probe("/health/ready") == http.StatusServiceUnavailable })
	require.Equal(t, http.StatusOK, p.Probe("/health/live"), "a restart would not help")
	refused(t, p, "launchRun", map[string]any{"workflow": "timed", "runId": "in-the-storm", "input": map[string]any{"url": ledger.URL}})
	refused(t, p, "submitSignal", map[string]any{"runId": known, "signalName": "go", "correlationId": known})
	refused(t, p, "cancelRun", map[string]any{"runId": known})
	run, err := p.Run(t.Context(), known)
	require.NoError(t, err, "reading goes on")
	require.Equal(t, "waiting-event", run.Status)
	_, health, err := p.Get(t.Context(), "/health")
	require.NoError(t, err)
	require.Contains(t, string(health), "storage: commits fail")
	time.Sleep(max(0, lasting-time.Since(since)))
	require.Equal(t, http.StatusServiceUnavailable, p.Probe("/health/ready"))
	calm()

	p.Ready()
	t.Logf("commits failed for %s", time.Since(since).Round(100*time.Millisecond))
	require.NoError(t, p.Call(t.Context(), "submitSignal", map[string]any{
		"runId": known, "signalName": "go", "correlationId": known, "data": map[string]any{"value": "late"},
	}, nil))
	p.Status(known, "finished")
	more := fleet.Runs() + 6
	p.Wait("further runs", func() bool { return fleet.Runs() > more })
	require.NoError(t, fleet.Finish(rig.Patience))
	require.NoError(t, fleet.Replay())
	for _, v := range load.Judge(ledger.Entries()) {
		t.Error(v)
	}
	p.Terminate()
	require.Zero(t, p.Cmd.ProcessState.ExitCode())
	for _, line := range p.Errors() {
		if !strings.Contains(line, "storage cannot commit") {
			t.Errorf("logged: %s", line)
		}
	}
}

// refused expects the error that says: try again.
func refused(t *testing.T, p *rig.Process, method string, params map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	err := p.Call(ctx, method, params, nil)
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "STORAGE_UNAVAILABLE", e.Code)
	require.Equal(t, http.StatusServiceUnavailable, e.Status)
	require.Equal(t, true, e.Extra["retryable"])
}
