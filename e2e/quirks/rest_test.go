package quirks

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// change is one frame of the change stream.
type change struct {
	Event       string
	Seq         int64
	Collections []string
}

// changes opens the change stream and returns what reads it frame by frame.
func changes(p *rig.Process, header ...string) func() change {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.T.Context(), rig.Patience)
	p.T.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Base+"/v1/api/stream", nil)
	require.NoError(p.T, err)
	req.Header.Set("Authorization", "Bearer "+p.Token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.HTTP.Do(req)
	require.NoError(p.T, err)
	p.T.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(p.T, http.StatusOK, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	return func() change {
		p.T.Helper()
		var c change
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				c.Event = name
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(p.T, json.Unmarshal([]byte(data), &c))
				return c
			}
		}
		require.NoError(p.T, lines.Err())
		p.T.Fatal("the change stream ended")
		return c
	}
}

func TestQ27_ACursorFromTheFutureIsReset(t *testing.T) {
	p := start(t)
	require.Equal(t, "reset", changes(p, "Last-Event-ID", "999999")().Event)
	require.Equal(t, "heartbeat", changes(p)().Event)
}

// Where clients of REST depend on what the original leaves out or adds, it stays so.
func TestQ42_RESTRowsKeepTheirShape(t *testing.T) {
	p := start(t)
	run := launch(p, "approve", nil, "waiting-approval")
	status, answer := rest(p, http.MethodPost, "/v1/api/approvals/"+run+":gate:0", object{"approved": true})
	require.Equal(t, http.StatusOK, status, "%v", answer)
	data := answer["data"].(object)
	require.Equal(t, "gate", data["nodeId"])
	require.Contains(t, data, "requestedAtMs")
	p.Status(run, "finished")
	_, answer = rest(p, http.MethodPost, "/v1/api/runs/"+run+"/resume", object{})
	require.Equal(t, "already_terminal", answer["data"].(object)["status"])
	require.Contains(t, answer["data"], "system")
}

func TestQ43_TheCronFilterFilters(t *testing.T) {
	p := start(t)
	p.Wait("the schedule of the module", func() bool { return len(call[[]object](p, "cronList", nil)) == 1 })
	for _, tc := range []struct {
		query string
		want  int
	}{{"", 1}, {"?workflow=croned", 1}, {"?workflow=nothing", 0}} {
		_, answer := rest(p, http.MethodGet, "/v1/api/crons"+tc.query, nil)
		require.Len(t, answer["data"], tc.want, tc.query)
	}
}

func TestQ44_MutationsOverRPCReachTheChangeStream(t *testing.T) {
	p := start(t)
	next := changes(p)
	until := func(collection string) {
		t.Helper()
		for {
			if c := next(); c.Event == "change" && slices.Contains(c.Collections, collection) {
				return
			}
		}
	}
	call[object](p, "createTicket", object{"path": "a.md", "content": "x"})
	until("tickets")
	call[object](p, "cronCreate", object{"workflow": "static", "pattern": "0 8 * * *", "cronId": "c"})
	until("crons")
	require.NoError(t, p.Dial().Call(t.Context(), "cronDelete", object{"cronId": "c"}, nil))
	until("crons")
	launch(p, "static", nil, "finished")
	until("runs")
}

func TestQ45_ApprovalsOfChildRunsHaveAddresses(t *testing.T) {
	p := start(t)
	run := launch(p, "gated-parent", nil, "waiting-event")
	child := run + ":child:sub:0"
	p.Status(child, "waiting-approval")
	status, answer := rest(p, http.MethodPost, "/v1/api/approvals/"+child+":gate:0", object{"approved": true})
	require.Equal(t, http.StatusOK, status, "%v", answer)
	p.Status(run, "finished")
}

func TestQ36_CronMistakesAreTheCallers(t *testing.T) {
	p := start(t)
	for _, tc := range []struct {
		method string
		params object
		status int
	}{
		{"cronCreate", object{"workflow": "static", "pattern": "often"}, 400},
		{"cronCreate", object{"workflow": "static", "pattern": "0 0 30 2 *"}, 400},
		{"cronCreate", object{"workflow": "nothing", "pattern": "0 8 * * *"}, 404},
		{"cronRun", object{"workflow": "nothing"}, 404},
		{"cronRun", object{"cronId": "nothing", "workflow": "static"}, 404},
		{"cronDelete", object{"cronId": "nothing"}, 404},
	} {
		require.Equal(t, tc.status, refused(p, tc.method, tc.params).Status, "%s %v", tc.method, tc.params)
	}
	mine := call[object](p, "cronCreate", object{"workflow": "static", "pattern": "0 8 * * *", "cronId": "mine"})
	failure := refused(p, "cronCreate", object{"workflow": "compute", "pattern": "0 9 * * *", "cronId": "mine"})
	require.Equal(t, http.StatusBadRequest, failure.Status, "another workflow's schedule is not overwritten")
	changed := call[object](p, "cronCreate", object{"workflow": "static", "pattern": "0 9 * * *", "cronId": "mine"})
	require.Equal(t, mine["createdAtMs"], changed["createdAtMs"], "the answer is what is stored")
}

func TestQ46_MissedTicksAreMadeUpForOnce(t *testing.T) {
	var p *rig.Process
	for lead := 2 * time.Second; ; lead *= 2 { // until this machine is gone before the tick
		p = start(t, "TZ=UTC")
		call[object](p, "cronCreate", object{"workflow": "croned", "pattern": "0 9 * * *", "cronId": "gateway:croned", "enabled": false})
		// One second of one day: a tick that falls into the time without a gateway.
		due := time.Now().UTC().Add(lead).Truncate(time.Second)
		call[object](p, "cronCreate", object{"workflow": "static", "pattern": due.Format("5 4 15 2 1 *"), "cronId": "once"})
		runs := call[[]object](p, "listRuns", nil)
		p.Kill()
		if time.Now().Before(due) {
			require.Empty(t, runs)
			rig.Wait(t, "the tick to pass", func() bool { return time.Now().After(due.Add(time.Second)) })
			break
		}
		require.Less(t, lead, rig.Patience/4)
	}
	p = again(p)
	p.Wait("the missed tick", func() bool {
		return len(call[[]object](p, "listRuns", object{"filter": object{"workflow": "static"}})) == 1
	})
	rows := map[any]object{}
	for _, row := range call[[]object](p, "cronList", nil) {
		rows[row["cronId"]] = row
	}
	require.NotNil(t, rows["once"]["lastRunAtMs"])
	require.Equal(t, false, rows["gateway:croned"]["enabled"], "what an operator changed stays")
	require.Equal(t, "0 9 * * *", rows["gateway:croned"]["pattern"])
	p.Kill()
	p = again(p)
	require.Len(t, call[[]object](p, "listRuns", nil), 1, "once")
}
