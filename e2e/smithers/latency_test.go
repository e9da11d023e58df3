package smithers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// TestLatencyBesideSmithersItself measures one Smithers process in one run both ways, by
// its own socket and through the gateway: launches in turn, and the arrival of the same
// events at two clients. With SMITHERS_LAUNCHES, which needs a machine at rest, it holds
// the gateway to its goals (docs/federation.md); without, it only sees that both work.
func TestLatencyBesideSmithersItself(t *testing.T) {
	t.Run("module", func(t *testing.T) {
		s := newSite(t)
		s.Module = s.Write("workspace/told.tsx", telling)
		told := s.Path("headers.json")
		s.Env = append(s.Env, "NODE_ENV=production", "HEADERS_FILE="+told, "TMPDIR="+os.TempDir())
		p := s.Start().As(s.Issue(allScopes, "alice")).Accepts()
		var headers []string
		text, err := os.ReadFile(told)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &headers))
		paths, err := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("smithers-host-%d-*", p.Cmd.Process.Pid), "s"))
		require.NoError(t, err)
		require.Len(t, paths, 1, "of the process's socket")
		beside(t, p, &client.Client{Base: "http://smithers", Header: http.Header{
			http.CanonicalHeaderKey(headers[0]): {"alice"},
			http.CanonicalHeaderKey(headers[1]): {"*"},
			http.CanonicalHeaderKey(headers[2]): {"operator"},
		}, Connect: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", paths[0])
		}}, true)
	})
	t.Run("elsewhere", func(t *testing.T) {
		port := strconv.Itoa(rig.FreePort(t))
		_, s := newElsewhere(t, "PORT="+port, "TOKEN=secret", "NODE_ENV=production")
		s.Env = append(s.Env, "SMITHERS_GATEWAY_UPSTREAM=http://127.0.0.1:"+port, "SMITHERS_GATEWAY_UPSTREAM_TOKEN=secret")
		p := s.Start().As(s.Issue(allScopes, "alice")).Accepts()
		beside(t, p, &client.Client{Base: "http://127.0.0.1:" + port, Token: "secret"}, false)
	})
}

// telling is the module with something that only this test needs: the names of the
// headers in which its process reads who calls.
const telling = `import { writeFileSync } from "node:fs";
import { register as all } from "./gateway.tsx";

export function register(gateway) {
  writeFileSync(process.env.HEADERS_FILE, JSON.stringify(gateway.auth.trustedHeaders));
  all(gateway);
}
`

// beside measures. near: the goal for events is one.
func beside(t *testing.T, p *rig.Process, direct *client.Client, near bool) {
	launches := rig.Count(t, "SMITHERS_LAUNCHES", 4)
	p.Wait("the workflows", func() bool { return p.Call(t.Context(), "launchRun", map[string]any{"workflow": "child"}, nil) == nil })
	ways := []*client.Client{direct, p.Client}
	launching := dialAll(t, ways)
	took, late := make([][]time.Duration, 2), make([][]time.Duration, 2)
	for n := range launches {
		for i := range launching {
			way := (n + i) % len(launching) // neither is always the first
			run := fmt.Sprintf("latency-%d-%d", n, way)
			begin := time.Now()
			require.NoError(t, launching[way].Call(t.Context(), "launchRun", map[string]any{"workflow": "many", "runId": run,
				"input": map[string]any{"count": 8, "ms": 20}}, nil))
			took[way] = append(took[way], time.Since(begin))
			// Of their own: the original sends nothing of others to a socket that launches,
			// and keeps a place among the streams of a socket for a run that has ended.
			listening := dialAll(t, ways)
			for i, times := range arrivals(t, p, listening, run) {
				late[i] = append(late[i], times...)
				require.NoError(t, listening[i].Close())
			}
		}
	}
	if os.Getenv("SMITHERS_LAUNCHES") == "" && len(late[0]) == 0 {
		t.Log("every event came before the sockets listened: nothing is measured")
		return
	}
	require.NotEmpty(t, late[0], "every event came before the sockets listened")
	commit := loneCommits(t, filepath.Join(t.TempDir(), "lone.db"), 20*launches)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	ratio := float64(p50(took[1])) / float64(p50(took[0]))
	limit := p50(late[0]) + 2*commit + 2*time.Millisecond
	t.Logf("launch p50: %.2f ms directly, %.2f ms through the gateway, ratio %.2f (%d launches each)",
		ms(p50(took[0])), ms(p50(took[1])), ratio, launches)
	t.Logf("event p50: %.2f ms directly, %.2f ms through the gateway, limit %.2f ms (lone commit %.2f ms, %d events)",
		ms(p50(late[0])), ms(p50(late[1])), ms(limit), ms(commit), len(late[0]))
	if os.Getenv("SMITHERS_LAUNCHES") == "" {
		return
	}
	require.LessOrEqual(t, ratio, 1.2, "launches")
	if near {
		require.LessOrEqual(t, p50(late[1]), limit, "events")
	}
}

func dialAll(t *testing.T, clients []*client.Client) (sockets []*client.Socket) {
	for _, c := range clients {
		socket, err := c.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = socket.Close() })
		sockets = append(sockets, socket)
	}
	return sockets
}

// arrivals follows a run by several sockets at once. For each socket: how long after the
// time that Smithers gave them the events arrived that came while all were listening.
func arrivals(t *testing.T, p *rig.Process, sockets []*client.Socket, run string) [][]time.Duration {
	came := make([]map[string]time.Time, len(sockets))
	open := make([]time.Time, len(sockets))
	failed := make(chan error, len(sockets))
	for i, socket := range sockets {
		came[i] = map[string]time.Time{}
		go func() {
			failed <- func() error {
				ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
				defer cancel()
				opened, err := socket.Stream(ctx, run, new(int64))
				if err != nil {
					return err
				}
				open[i] = time.Now()
				err = socket.Follow(ctx, opened.StreamID, func(item client.Item) bool {
					if item.Event == nil {
						return true
					}
					key := item.Event.Event + " " + node(t, item.Event)
					if _, before := came[i][key]; !before { // the original may send one again
						came[i][key] = time.Now()
					}
					return item.Event.Event != "run.completed"
				})
				if err != nil {
					err = fmt.Errorf("%s by socket %d, after %d events: %w", run, i, len(came[i]), err)
				}
				return err
			}()
		}()
	}
	for range sockets {
		require.NoError(t, <-failed)
	}
	var log []struct {
		Event       string
		TimestampMs int64
		Payload     struct{ NodeID string }
	}
	rest(t, p, "/v1/api/runs/"+run+"/events?limit=1000", &log)
	late := make([][]time.Duration, len(sockets))
	for _, entry := range log {
		at := time.UnixMilli(entry.TimestampMs)
		name := map[string]string{"NodeStarted": "node.started ", "NodeFinished": "node.finished "}[entry.Event]
		if name == "" || slices.ContainsFunc(open, at.Before) {
			continue
		}
		for i := range sockets {
			arrived, ok := came[i][name+entry.Payload.NodeID]
			require.True(t, ok, "%s%s of %s did not come by socket %d", name, entry.Payload.NodeID, run, i)
			late[i] = append(late[i], arrived.Sub(at))
		}
	}
	return late
}

// loneCommits is the median time of commits of one row each, one after the other, to the
// disk of the test.
func loneCommits(t *testing.T, path string, count int) time.Duration {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TABLE rows (text TEXT)")
	require.NoError(t, err)
	times := make([]time.Duration, count)
	for i := range times {
		begin := time.Now()
		_, err := db.Exec("INSERT INTO rows VALUES (?)", strings.Repeat("x", 300))
		require.NoError(t, err)
		times[i] = time.Since(begin)
	}
	return p50(times)
}

func p50(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
