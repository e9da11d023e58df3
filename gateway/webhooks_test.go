package gateway

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/webhook"
)

// hookModule has the webhooks of the recorded transcript, and a second workflow that
// waits for the same event.
const hookModule = `
const wait = async (ctx) => ({ got: await ctx.signal("gh.comment", { id: "wait", correlationId: String(ctx.input.corr) }) });
const webhook = { secret: "whsec", signal: { name: "gh.comment", correlationIdPath: "issue.id", runIdPath: "run", payloadPath: "comment" } };
export function register(gateway) {
  gateway.register("hook", wait, { webhook: { ...webhook, run: { inputPath: "input" } } });
  gateway.register("hook2", wait, {});
  gateway.register("hookrun", async (ctx) => ({ input: ctx.input }), { webhook: { secret: "s2", signatureHeader: "X-Sig", signaturePrefix: "v1=", deliveryHeader: "X-Del" } });
  gateway.register("signalonly", wait, { webhook: { ...webhook, run: { enabled: false } } });
  gateway.register("static", async () => 1);
}
`

func startHooks(t *testing.T) *harness {
	dir := t.TempDir()
	require.NoError(t, writeFile(filepath.Join(dir, "gateway.mjs"), hookModule))
	return start(t, dir, func(s *Settings) {
		s.Module = filepath.Join(dir, "gateway.mjs")
		delete(s.GoWorkflows, "static")
	}, Site{})
}

// deliver posts a signed body and returns status and answer.
func (h *harness) deliver(key, body string, header ...string) (int, obj) {
	h.t.Helper()
	header = append([]string{"X-Hub-Signature-256", webhook.Sign("whsec", "sha256=", []byte(body)), "Host", "evil.example"}, header...)
	res, raw := h.do("POST", "/webhooks/"+key, "", body, header...)
	require.Equal(h.t, "application/json", res.Header.Get("Content-Type"))
	require.Equal(h.t, "v1", res.Header.Get("X-Smithers-API-Version"))
	var answer obj
	require.NoError(h.t, json.Unmarshal(raw, &answer), string(raw))
	return res.StatusCode, answer
}

func TestWebhookTranscript(t *testing.T) {
	h := startHooks(t)
	for _, c := range []struct {
		key, body string
		header    []string
		status    int
		code, msg string
	}{
		{"zz", "{}", nil, 404, "NOT_FOUND", "Unknown workflow: zz"},
		{"static", "{}", nil, 404, "NOT_FOUND", "Webhook not configured for workflow: static"},
		{"hook", "{}", []string{"X-Hub-Signature-256", "sha256=00"}, 401, "UNAUTHORIZED", "Webhook signature verification failed"},
		{"hook", "{}", []string{"X-Hub-Signature-256", ""}, 401, "UNAUTHORIZED", "Webhook signature verification failed"},
		{"hook", "{nope", nil, 400, "INVALID_INPUT", "Webhook payload must be valid JSON."},
		{"hook", `{"x":"` + strings.Repeat("y", 1<<20) + `"}`, nil, 413, "PayloadTooLarge", "Gateway request payload exceeds 1048576 bytes."},
		{"%E0%A4", "{}", nil, 400, "INVALID_REQUEST", "Malformed request target or Host header"},
	} {
		status, answer := h.deliver(c.key, c.body, c.header...)
		require.Equal(t, c.status, status, c)
		require.Equal(t, obj{"ok": false, "error": obj{"code": c.code, "message": c.msg}}, answer)
	}
	res, _ := h.do("GET", "/webhooks/hook", "op", "")
	require.Equal(t, 404, res.StatusCode)

	status, first := h.deliver("hook", `{"input":{"corr":"77"},"issue":{"id":77},"comment":{"body":"hi"}}`)
	require.Equal(t, 200, status)
	id := first["started"].(obj)["runId"].(string)
	require.Equal(t, obj{"ok": true, "workflow": "hook", "verified": true, "delivered": []any{}, "matchedRunIds": []any{},
		"started": obj{"runId": id, "workflow": "hook", "system": false}}, first)
	h.await(id, "waiting-event")
	_, other := h.deliver("hook", `{"issue":{"id":5},"comment":{"body":"hi"}}`)
	require.NotNil(t, other["started"], "nobody waits for that")

	_, second := h.deliver("hook", `{"issue":{"id":77},"comment":{"body":"hi"}}`)
	require.Nil(t, second["started"])
	require.Equal(t, []any{id}, second["matchedRunIds"])
	got := second["delivered"].([]any)[0].(obj)
	delete(got, "receivedAtMs")
	require.Equal(t, obj{"runId": id, "seq": 0.0, "signalName": "gh.comment", "correlationId": "77"}, got)
	run := h.await(id, "finished")
	require.Equal(t, obj{"got": obj{"body": "hi"}}, run["output"])
	require.Contains(t, run["configJson"], `"gatewayTriggeredBy":"webhook:hook"`)
	require.Contains(t, run["configJson"], `"role":"system"`)

	for body, input := range map[string]obj{`{"a":1}`: {"a": 1.0}, "5": {"payload": 5.0}} {
		_, raw := h.do("POST", "/webhooks/hookrun", "", body, "X-Sig", webhook.Sign("s2", "v1=", []byte(body)))
		var answer obj
		require.NoError(t, json.Unmarshal(raw, &answer))
		run = h.await(answer["started"].(obj)["runId"].(string), "finished")
		require.Equal(t, obj{"input": input}, run["output"])
	}

	_, nothing := h.deliver("signalonly", `{"issue":{"id":1}}`)
	require.Equal(t, obj{"ok": true, "workflow": "signalonly", "verified": true, "delivered": []any{}, "matchedRunIds": []any{}, "started": nil}, nothing)
}

// A delivery reaches the runs of its workflow only, whoever else waits for the same
// (Q19), and every one of them.
func TestWebhookKeepsToItsWorkflow(t *testing.T) {
	h := startHooks(t)
	foreign := h.launch("hook2", obj{"corr": "c"})
	one, two := h.launch("hook", obj{"corr": "c"}), h.launch("hook", obj{"corr": "c"})
	for _, id := range []string{foreign, one, two} {
		h.await(id, "waiting-event")
	}
	_, answer := h.deliver("hook", `{"issue":{"id":"c"},"run":"`+two+`"}`)
	require.Equal(t, []any{two}, answer["matchedRunIds"], "the run that the body names, if it waits")
	_, answer = h.deliver("hook", `{"issue":{"id":"c"},"run":"`+foreign+`"}`)
	require.Equal(t, []any{one}, answer["matchedRunIds"], "else all that wait")
	h.await(one, "finished")
	h.await(two, "finished")
	require.Equal(t, "waiting-event", h.await(foreign, "waiting-event")["status"])
}

func TestWebhookDeliveriesCountOnce(t *testing.T) {
	h := startHooks(t)
	const body = `{"issue":{"id":"r"},"input":{"corr":"r"}}`
	_, first := h.deliver("hook", body, "X-GitHub-Delivery", "d-1")
	_, again := h.deliver("hook", body, "X-GitHub-Delivery", "d-1")
	require.Equal(t, true, again["repeated"])
	require.Equal(t, first["started"], again["started"])
	id := first["started"].(obj)["runId"].(string)
	h.await(id, "waiting-event")

	_, signalled := h.deliver("hook", body, "X-GitHub-Delivery", "d-2")
	require.Equal(t, []any{id}, signalled["matchedRunIds"])
	_, again = h.deliver("hook", body, "X-GitHub-Delivery", "d-2")
	require.Equal(t, signalled["delivered"], again["delivered"])
	status, conflict := h.deliver("hook", `{}`, "X-GitHub-Delivery", "d-2")
	require.Equal(t, 409, status)
	require.Equal(t, "CONFLICT", conflict["error"].(obj)["code"])

	// Many at once: one run.
	var wg sync.WaitGroup
	runs := make([]any, 8)
	for i := range runs {
		wg.Go(func() {
			_, a := h.deliver("hook", `{"issue":{"id":"z"}}`, "X-GitHub-Delivery", "d-3")
			runs[i] = a["started"].(obj)["runId"]
		})
	}
	wg.Wait()
	for _, id := range runs {
		require.Equal(t, runs[0], id)
	}
	var rows []obj
	h.call("listRuns", obj{"filter": obj{"workflow": "hook"}}, &rows)
	require.Len(t, rows, 2)
}

func TestDeepPayloadsAreSignalsButNoInput(t *testing.T) {
	h := startHooks(t)
	id := h.launch("hook", obj{"corr": "deep"})
	h.await(id, "waiting-event")
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	body := `{"issue":{"id":"deep"},"comment":{"c":` + deep + `},"input":{"x":` + deep + `}}`
	status, answer := h.deliver("hook", body)
	require.Equal(t, 200, status, answer)
	h.await(id, "finished")
	status, answer = h.deliver("hook", body)
	require.Equal(t, 400, status)
	require.Equal(t, "INVALID_INPUT", answer["error"].(obj)["code"])
}
