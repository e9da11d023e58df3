// Package smithers runs real Smithers modules behind the built gateway. Its tests need
// the packages of examples/smithers, or of the folder that SMITHERS_NODE_MODULES names.
package smithers

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

//go:embed gateway.tsx
var module string

const allScopes = rig.AllScopes + ",cron:read,cron:write,run:admin"

// installed is the folder with the npm packages; the test is skipped without one.
func installed(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("SMITHERS_NODE_MODULES")
	if folder == "" {
		var err error
		folder, err = filepath.Abs("../../examples/smithers/node_modules")
		require.NoError(t, err)
	}
	_, err := os.Stat(filepath.Join(folder, "smithers-orchestrator", "package.json"))
	if err != nil {
		t.Skip("smithers-orchestrator is not installed: npm ci --prefix examples/smithers")
	}
	return folder
}

// newSite is a site whose module is a Smithers one.
func newSite(t *testing.T) *rig.Site {
	t.Helper()
	packages := installed(t)
	s := rig.NewSite(t, "")
	s.Module = s.Write("workspace/gateway.tsx", module)
	s.Write("workspace/package.json", `{"name":"workspace","private":true,"type":"module"}`)
	s.Write("workspace/tsconfig.json", `{"compilerOptions":{"jsx":"react-jsx","jsxImportSource":"smithers-orchestrator"}}`)
	require.NoError(t, os.Symlink(packages, s.Path("workspace/node_modules")))
	return s
}

// hostPID is the process that the gateway has started for the module; 0 between two.
func hostPID(p *rig.Process) int {
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(p.Cmd.Process.Pid), "task", "*", "children"))
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				return pid
			}
		}
	}
	return 0
}

// logEntry is an event of either log.
type logEntry struct {
	Type string
	AtMs int64
}

// hostLog reads what Smithers itself has stored of a run.
func hostLog(t *testing.T, s *rig.Site, run string) (events []logEntry) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.DB+"?mode=ro&_pragma=busy_timeout(60000)")
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT type, timestamp_ms FROM _smithers_events WHERE run_id = ? ORDER BY seq", run)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var e logEntry
		require.NoError(t, rows.Scan(&e.Type, &e.AtMs))
		events = append(events, e)
	}
	require.NoError(t, rows.Err())
	return events
}

// gatewayLog reads what the gateway has of it.
func gatewayLog(t *testing.T, p *rig.Process, run string) (events []logEntry) {
	t.Helper()
	var rows []struct {
		Event       string
		TimestampMs int64
	}
	rest(t, p, "/v1/api/runs/"+run+"/events?limit=10000", &rows)
	for _, r := range rows {
		events = append(events, logEntry{r.Event, r.TimestampMs})
	}
	return events
}

// sameLog holds that the gateway has of a run what Smithers itself has stored, which may
// go on for a moment after the run has ended.
func sameLog(t *testing.T, s *rig.Site, p *rig.Process, run string) {
	t.Helper()
	var host, gateway []logEntry
	defer func() {
		if t.Failed() {
			t.Logf("Smithers has of %s\n%v\nthe gateway\n%v", run, host, gateway)
		}
	}()
	rig.Wait(t, "the log of "+run, func() bool {
		host, gateway = hostLog(t, s, run), gatewayLog(t, p, run)
		return len(host) > 0 && slices.Equal(host, gateway)
	})
}

func rest(t *testing.T, p *rig.Process, path string, into any) {
	t.Helper()
	status, body, err := p.Get(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, string(body))
	unwrap(t, body, into)
}

// follow reads a run's stream to its end and returns its events.
func follow(ctx context.Context, c *client.Client, run string, after int64) (events []*client.RunEvent, err error) {
	return followEach(ctx, c, run, after, func() {})
}

// followEach is follow that tells of each event when it comes.
func followEach(ctx context.Context, c *client.Client, run string, after int64, each func()) (events []*client.RunEvent, err error) {
	stream, err := rig.OpenEvents(ctx, c, run, after)
	if err != nil {
		return nil, err
	}
	err = stream.Follow(func(i client.Item) bool {
		if i.Event != nil {
			events = append(events, i.Event)
			each()
		}
		return i.Error == nil && (i.Event == nil || i.Event.Event != "run.completed")
	})
	return events, err
}

func node(t *testing.T, e *client.RunEvent) string {
	t.Helper()
	var payload struct{ NodeID string }
	require.NoError(t, json.Unmarshal(e.Payload, &payload))
	return payload.NodeID
}
