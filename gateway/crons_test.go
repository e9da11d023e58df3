package gateway

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCronMethods(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) {
		w := s.GoWorkflows["static"]
		w.Schedule = "0 0 1 1 *"
		s.GoWorkflows["croned"] = w
	}, Site{})
	var rows []obj
	require.Eventually(t, func() bool { h.call("cronList", obj{}, &rows); return len(rows) == 1 }, time.Minute, 5*time.Millisecond)
	row := rows[0]
	require.Equal(t, obj{"cronId": "gateway:croned", "pattern": "0 0 1 1 *", "workflowPath": "gateway:croned", "enabled": true,
		"createdAtMs": row["createdAtMs"], "lastRunAtMs": nil, "nextRunAtMs": row["nextRunAtMs"], "errorJson": nil, "workflow": "croned"}, row)
	require.Greater(t, row["nextRunAtMs"], row["createdAtMs"])
	h.call("cron.list", obj{"filter": obj{"workflow": "zz"}}, &rows)
	require.Empty(t, rows)

	for _, c := range []struct {
		token, method string
		params        obj
		status        int
		code, message string
	}{
		{"op", "cronCreate", obj{"workflow": "zz", "pattern": "* * * * *"}, 404, "NOT_FOUND", "Unknown workflow: zz"},
		{"op", "cronCreate", obj{"workflow": "static"}, 400, "INVALID_REQUEST", "workflow and pattern are required"},
		{"op", "cronCreate", obj{"workflow": "static", "pattern": "61 * * * *"}, 400, "INVALID_REQUEST", `not a cron pattern: "61 * * * *"`},
		{"op", "cronCreate", obj{"workflow": "static", "pattern": "0 0 30 2 *"}, 400, "INVALID_REQUEST", `not a cron pattern: "0 0 30 2 *" never ticks`},
		{"op", "cronCreate", obj{"workflow": "static", "pattern": "* * * * *", "timeZone": "Mars/X"}, 400, "INVALID_REQUEST", `unknown time zone: "Mars/X"`},
		{"op", "cronCreate", obj{"workflow": "static", "pattern": "* * * * *", "cronId": "gateway:croned"}, 400, "INVALID_REQUEST", "Cron gateway:croned belongs to workflow croned"},
		{"op", "cronDelete", obj{"cronId": "nope"}, 404, "NOT_FOUND", "Cron not found: nope"},
		{"op", "cronDelete", obj{}, 400, "INVALID_REQUEST", "cronId is required"},
		{"op", "cronRun", obj{"cronId": "nope"}, 400, "INVALID_REQUEST", "cronId or workflow is required"},
		{"op", "cronRun", obj{}, 400, "INVALID_REQUEST", "cronId or workflow is required"},
		{"op", "cronRun", obj{"cronId": "nope", "workflow": "static"}, 404, "NOT_FOUND", "Cron not found: nope"},
		{"op", "cronRun", obj{"workflow": "zork"}, 404, "NOT_FOUND", "Unknown workflow: zork"},
		{"rw", "cronList", obj{}, 403, "FORBIDDEN", "Missing required scope cron:read for cronList"},
		{"rw", "cron.add", obj{}, 403, "FORBIDDEN", "Missing required scope cron:write for cron.add"},
	} {
		h.refused(c.token, c.method, c.params, c.status, c.code, c.message)
	}

	var made obj
	h.call("cronCreate", obj{"workflow": "static", "pattern": "@hourly", "cronId": "hourly", "enabled": false, "timeZone": "Europe/Berlin"}, &made)
	require.Equal(t, false, made["enabled"])
	require.Equal(t, "Europe/Berlin", made["timeZone"])
	require.NotNil(t, made["nextRunAtMs"])
	var run obj
	h.call("cronRun", obj{"cronId": "hourly", "workflow": "sys", "input": obj{"a": 1}}, &run)
	require.Equal(t, "static", run["workflow"], "the schedule's, whatever is said besides")
	h.await(run["runId"].(string), "finished")
	h.call("cronRun", obj{"workflow": "static"}, &run)
	h.await(run["runId"].(string), "finished")
	var again obj
	h.call("cronCreate", obj{"workflow": "static", "pattern": "@daily", "cronId": "hourly"}, &again)
	require.Equal(t, made["createdAtMs"], again["createdAtMs"], "the answer is what is stored")
	require.NotNil(t, again["lastRunAtMs"])
	require.Equal(t, "@daily", again["pattern"])
	var removed obj
	h.call("cronDelete", obj{"cronId": "hourly"}, &removed)
	require.Equal(t, obj{"cronId": "hourly", "removed": true}, removed)
	h.call("cronDelete", obj{"cronId": "gateway:croned"}, &removed)
	h.refused("op", "cronDelete", obj{"cronId": "gateway:croned"}, 404, "NOT_FOUND", "Cron not found: gateway:croned")
	h.call("cronList", obj{}, &rows)
	require.Empty(t, rows)
}

// A schedule launches by itself, its event is the run's first, and a socket hears it.
func TestCronTriggered(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	var made obj
	h.call("cronCreate", obj{"workflow": "static", "pattern": "* * * * * *", "cronId": "each-second"}, &made)
	var rows []obj
	require.Eventually(t, func() bool { h.call("listRuns", obj{}, &rows); return len(rows) > 0 }, time.Minute, 10*time.Millisecond)
	h.call("cronDelete", obj{"cronId": "each-second"}, nil)
	id := rows[len(rows)-1]["runId"].(string)
	run := h.await(id, "finished")
	require.Contains(t, run["configJson"], `"gatewayTriggeredBy":"cron:gateway"`)
	res, body := h.do("GET", "/v1/api/runs/"+id+"/stream?afterSeq=0", "ro", "")
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, string(body), `id: 1`+"\n"+`event: run.event`+"\n")
	require.Contains(t, string(body), `"event":"cron.triggered","payload":{"runId":"`+id+`","cronId":"each-second","workflow":"static"},"seq":1,`)
	// Not before its second; that it does not wait for a sweep is held in fake time
	// (TestFiresExactlyAndAnnounces of package cron).
	require.GreaterOrEqual(t, run["createdAtMs"], made["nextRunAtMs"])
}

func TestUnusableScheduleIsRefused(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "gateway.mjs")
	require.NoError(t, os.WriteFile(module, []byte(`export function register(g) { g.register("w", async () => 1, { schedule: "0 25 * * *" }); }`), 0o600))
	s := testSettings(t, dir)
	s.Module = module
	g := New(testLogger(t))
	require.NoError(t, g.Apply("test", s))
	err := g.Start(t.Context())
	require.ErrorIs(t, err, ErrModule)
	require.ErrorContains(t, err, `schedule of workflow "w": not a cron pattern: "0 25 * * *"`)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, g.Close(ctx))
}
