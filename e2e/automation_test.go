package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

const automationScopes = allScopes + ",cron:read,cron:write"

// automation is a module with a webhook and a schedule.
const automation = `
export function register(gateway) {
  gateway.register("hook", async (ctx) => {
    const got = await ctx.signal("go", { correlationId: ctx.input.id });
    return { got };
  }, { webhook: { secret: process.env.HOOK_SECRET, signal: { name: "go", correlationIdPath: "id", payloadPath: "what" } } });
  gateway.register("ticking", async () => ({ ticked: true }), { schedule: process.env.SCHEDULE, timeZone: "UTC" });
}
`

// deliver posts a signed webhook.
func (p *process) deliver(t *testing.T, key, id, body string) (int, map[string]any) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/webhooks/"+key, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("X-GitHub-Delivery", id)
	res, err := p.HTTP.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	var answer map[string]any
	require.NoError(t, json.Unmarshal(raw, &answer), string(raw))
	return res.StatusCode, answer
}

// What a delivery did is known after a power cut, so that a repeated one does nothing.
func TestWebhooksCountOnceThroughACrash(t *testing.T) {
	s := newSite(t)
	s.module = s.write("workspace/automation.mjs", automation)
	s.env = []string{"HOOK_SECRET=whsec", "SCHEDULE=0 0 1 1 *"}
	config := s.caddyfile("env HOOK_SECRET SCHEDULE")
	token := s.issue(automationScopes)
	p := s.start("run", "--config", config).as(token)
	status, first := p.deliver(t, "hook", "d-1", `{"id":"a"}`)
	require.Equal(t, 200, status, first)
	run := first["started"].(map[string]any)["runId"].(string)
	p.status(run, "waiting-event")
	p.kill()

	p = s.start("run", "--config", config).as(token)
	_, again := p.deliver(t, "hook", "d-1", `{"id":"a"}`)
	require.Equal(t, first["started"], again["started"])
	status, second := p.deliver(t, "hook", "d-2", `{"id":"a","what":{"x":1}}`)
	require.Equal(t, 200, status)
	require.Nil(t, second["started"])
	require.Equal(t, []any{run}, second["matchedRunIds"], "its input has no id: it waits for any")
	p.status(run, "finished")
}

// A schedule fires on its second, is made up for by one run when nobody was there,
// and what an operator did to it stays.
func TestSchedulesThroughACrash(t *testing.T) {
	s := newSite(t)
	s.module = s.write("workspace/automation.mjs", automation)
	token := s.issue(automationScopes)
	config := s.caddyfile("env HOOK_SECRET SCHEDULE")
	var p *process
	crons := func() (rows []map[string]any) {
		require.NoError(t, p.Call(t.Context(), "cronList", nil, &rows))
		return rows
	}
	for lead := 4 * time.Second; ; lead *= 2 { // until this machine is up before the first tick, and gone
		soon := time.Now().UTC().Add(lead).Truncate(time.Second)
		s.env = []string{"HOOK_SECRET=whsec", fmt.Sprintf("SCHEDULE=%d %d %d * * *", soon.Second(), soon.Minute(), soon.Hour())}
		p = s.start("run", "--config", config).as(token)
		p.wait("the schedule to be stored", func() bool { return len(crons()) == 1 })
		p.kill()
		if time.Now().Before(soon) {
			waitFor(t, "the tick to pass", func() bool { return time.Now().After(soon.Add(time.Second)) })
			break
		}
		require.Less(t, lead, patience/4)
		require.NoError(t, os.Remove(s.path("smithers.db")))
	}

	p = s.start("run", "--config", config).as(token)
	runs := func() (rows []client.Run) {
		require.NoError(t, p.Call(t.Context(), "listRuns", map[string]any{"filter": map[string]any{"workflow": "ticking"}}, &rows))
		return rows
	}
	p.wait("the missed tick", func() bool { return len(runs()) > 0 })
	require.NoError(t, p.Call(t.Context(), "cronCreate", map[string]any{"workflow": "ticking", "pattern": "0 5 * * *",
		"cronId": "gateway:ticking", "enabled": false}, nil))
	p.kill()

	p = s.start("run", "--config", config).as(token)
	require.Len(t, runs(), 1, "one run for all that was missed")
	row := crons()[0]
	require.Equal(t, false, row["enabled"])
	require.Equal(t, "0 5 * * *", row["pattern"])
	require.NotNil(t, row["lastRunAtMs"])

	require.NoError(t, p.Call(t.Context(), "cronCreate", map[string]any{"workflow": "ticking", "pattern": "* * * * * *", "cronId": "fast"}, nil))
	p.wait("ticks", func() bool { return len(runs()) >= 4 })
	p.kill() // in the middle of it
	p = s.start("run", "--config", config).as(token)
	var started []int64
	for _, run := range runs() {
		p.status(run.RunID, "finished")
		var row struct{ CreatedAtMs int64 }
		require.NoError(t, p.Call(t.Context(), "getRun", map[string]any{"runId": run.RunID}, &row))
		started = append(started, row.CreatedAtMs/1000)
	}
	for i := 1; i < len(started)-1; i++ {
		require.NotEqual(t, started[i-1], started[i], "no tick fires twice")
	}
}
