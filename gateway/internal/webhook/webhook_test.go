package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// The vector of the protocol.
const (
	vectorBody = `{"issue":{"id":"c1"},"comment":{"body":"hi"}}`
	vectorSig  = "sha256=5033862f22a6f9895c5f954171d3293f19ac830ee7698fd93ad3a36be505e5d9"
)

func TestVector(t *testing.T) {
	require.Equal(t, vectorSig, Sign("whsec", "sha256=", []byte(vectorBody)))
	require.True(t, Verify("whsec", "sha256=", vectorSig, []byte(vectorBody)))
	for _, bad := range []string{"", "sha256=", strings.ToUpper(vectorSig), "sha256=" + strings.ToUpper(vectorSig[7:]), vectorSig + " ", " " + vectorSig,
		vectorSig[7:], "sha1=" + vectorSig[7:], vectorSig[:len(vectorSig)-1], "sha256=00"} {
		require.False(t, Verify("whsec", "sha256=", bad, []byte(vectorBody)), bad)
	}
	require.False(t, Verify("whsec", "sha256=", vectorSig, []byte(vectorBody+" ")), "the raw body counts")
	require.False(t, Verify("", "sha256=", Sign("", "sha256=", nil), nil), "no secret, no way in")
}

// fake is an engine that notes what it is given.
type fake struct {
	defs map[string]engine.Definition
	got  []engine.Delivery
	res  engine.DeliveryResult
	err  error
}

func (f *fake) Workflow(key string) (engine.Definition, bool) { d, ok := f.defs[key]; return d, ok }

func (f *fake) Deliver(_ context.Context, d engine.Delivery) (engine.DeliveryResult, error) {
	f.got = append(f.got, d)
	return f.res, f.err
}

func hook(w engine.Webhook) engine.Definition { return engine.Definition{Webhook: &w} }

func newFake() *fake {
	gh := engine.Webhook{Secret: " whsec ", SignaturePrefix: "sha256=", Run: &engine.WebhookRun{Input: "input"},
		Signal: &engine.WebhookSignal{Name: "gh.comment", CorrelationID: "issue.id", RunID: "run", Payload: "comment"}}
	only := engine.Webhook{Secret: "s", SignatureHeader: "X-Sig", SignaturePrefix: "v1=", DeliveryHeader: "X-Del", Run: &engine.WebhookRun{}}
	return &fake{defs: map[string]engine.Definition{"hook": hook(gh), "only": hook(only), "static": {}, "blank": hook(engine.Webhook{Secret: " \t", Run: &engine.WebhookRun{}}),
		"nothing": hook(engine.Webhook{Secret: "s"})}}
}

func receive(f *fake, workflow, body string, header ...string) (json.RawMessage, *wire.Error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	r := &Receiver{Engine: f}
	return r.Receive(context.Background(), Request{Workflow: workflow, Header: h, Remote: "192.0.2.1",
		Body: func() ([]byte, *wire.Error) { return []byte(body), nil }})
}

func signed(body string) []string {
	return []string{"X-Hub-Signature-256", Sign("whsec", "sha256=", []byte(body))}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, workflow, body string
		header               []string
		code, message        string
	}{
		{"unknown", "zz", "{}", signed("{}"), "NOT_FOUND", "Unknown workflow: zz"},
		{"no webhook", "static", "{}", signed("{}"), "NOT_FOUND", "Webhook not configured for workflow: static"},
		{"blank secret", "blank", "{}", signed("{}"), "SERVER_ERROR", "Webhook secret is not configured"},
		{"no effect", "nothing", "{}", signed("{}"), "INVALID_REQUEST", "Webhook of workflow nothing neither sends a signal nor starts a run"},
		{"no signature", "hook", "{}", nil, "UNAUTHORIZED", "Webhook signature verification failed"},
		{"empty signature", "hook", "{}", []string{"X-Hub-Signature-256", ""}, "UNAUTHORIZED", "Webhook signature verification failed"},
		{"two signatures", "hook", "{}", append(signed("{}"), signed("{}")...), "UNAUTHORIZED", "Webhook signature verification failed"},
		{"other header", "only", "{}", signed("{}"), "UNAUTHORIZED", "Webhook signature verification failed"},
		{"bad JSON is not looked at first", "hook", "{nope", nil, "UNAUTHORIZED", "Webhook signature verification failed"},
		{"bad JSON", "hook", "{nope", signed("{nope"), "INVALID_INPUT", "Webhook payload must be valid JSON."},
		{"two values", "hook", "{} {}", signed("{} {}"), "INVALID_INPUT", "Webhook payload must be valid JSON."},
		{"long delivery id", "hook", "{}", append(signed("{}"), "X-GitHub-Delivery", strings.Repeat("d", 257)), "INVALID_INPUT", "Webhook delivery id exceeds 256 characters."},
	} {
		f := newFake()
		_, err := receive(f, c.workflow, c.body, c.header...)
		require.NotNil(t, err, c.name)
		require.Equal(t, c.code, err.Code, c.name)
		require.Equal(t, c.message, err.Message, c.name)
		require.Empty(t, f.got, c.name)
	}
}

func TestBodyIsReadForWebhooksOnly(t *testing.T) {
	r := &Receiver{Engine: newFake()}
	for workflow, read := range map[string]bool{"zz": false, "static": false, "blank": false, "nothing": false, "hook": true} {
		was := false
		_, err := r.Receive(t.Context(), Request{Workflow: workflow, Header: http.Header{}, Body: func() ([]byte, *wire.Error) {
			was = true
			return nil, wire.Errorf(wire.CodePayloadTooLarge, "too large")
		}})
		require.NotNil(t, err)
		require.Equal(t, read, was, workflow)
	}
}

func TestWhatADeliveryBecomes(t *testing.T) {
	for _, c := range []struct {
		body                             string
		correlation, run, payload, input string
	}{
		{vectorBody, "c1", "", `{"body":"hi"}`, `{"payload":null}`},
		{`{"issue":{"id":77},"input":{"corr":"77"},"run":" r1 "}`, "77", "r1", "null", `{"corr":"77"}`},
		{`{"issue":{"id":12345678901234567890}}`, "12345678901234567890", "", "null", `{"payload":null}`},
		{`{"issue":{"id":1.50}}`, "1.5", "", "null", `{"payload":null}`},
		{`{"issue":{"id":1e21}}`, "1e+21", "", "null", `{"payload":null}`},
		{`{"issue":{"id":true}}`, "true", "", "null", `{"payload":null}`},
		{`{"issue":{"id":null},"run":7}`, "", "7", "null", `{"payload":null}`},
		{`{"issue":{"id":["x"]},"input":[1, 2]}`, "", "", "null", `{"payload":[1,2]}`},
		{``, "", "", "null", `{"payload":null}`},
		{`[1,2]`, "", "", "null", `{"payload":null}`},
		{`"text"`, "", "", "null", `{"payload":null}`},
	} {
		f := newFake()
		_, err := receive(f, "hook", c.body, append(signed(c.body), "x-github-delivery", " d-1 ")...)
		require.Nil(t, err, c.body)
		d := f.got[0]
		require.Equal(t, "d-1", d.ID)
		require.Equal(t, "192.0.2.1", d.Remote)
		require.Equal(t, engine.DeliverySignal{Name: "gh.comment", CorrelationID: c.correlation, RunID: c.run, Payload: json.RawMessage(c.payload)}, *d.Signal, c.body)
		require.True(t, d.Launch)
		require.Equal(t, c.input, string(d.Input), c.body)
	}
	for body, input := range map[string]string{`{"a":1}`: `{"a":1}`, "5": `{"payload":5}`, "": "{}", ` [1, 2]`: `{"payload":[1,2]}`} {
		f := newFake()
		_, err := receive(f, "only", body, "X-Sig", Sign("s", "v1=", []byte(body)), "X-Del", "9")
		require.Nil(t, err)
		require.Nil(t, f.got[0].Signal)
		require.Equal(t, "9", f.got[0].ID)
		require.Equal(t, input, string(f.got[0].Input))
	}
}

func TestWholeBodyAsRunID(t *testing.T) {
	f := &fake{defs: map[string]engine.Definition{"w": hook(engine.Webhook{Secret: "whsec", SignaturePrefix: "sha256=", Signal: &engine.WebhookSignal{Name: "s"}})}}
	_, err := receive(f, "w", `"run-1"`, signed(`"run-1"`)...)
	require.Nil(t, err)
	require.Equal(t, "run-1", f.got[0].Signal.RunID)
	require.False(t, f.got[0].Launch)
}

func TestAnswers(t *testing.T) {
	f := newFake()
	f.res = engine.DeliveryResult{Delivered: []engine.DeliveredSignal{{RunID: "r", Seq: 2, Name: "gh.comment", CorrelationID: "c1", ReceivedAtMs: 5}, {RunID: "q"}}}
	got, err := receive(f, "hook", "{}", signed("{}")...)
	require.Nil(t, err)
	require.JSONEq(t, `{"ok":true,"workflow":"hook","verified":true,"delivered":[
		{"runId":"r","seq":2,"signalName":"gh.comment","correlationId":"c1","receivedAtMs":5},
		{"runId":"q","seq":0,"signalName":"","correlationId":null,"receivedAtMs":0}],"matchedRunIds":["r","q"],"started":null}`, string(got))
	f.res = engine.DeliveryResult{Started: &engine.Launched{RunID: "n", Workflow: "hook"}, Repeated: true}
	got, err = receive(f, "hook", "{}", signed("{}")...)
	require.Nil(t, err)
	require.JSONEq(t, `{"ok":true,"workflow":"hook","verified":true,"delivered":[],"matchedRunIds":[],
		"started":{"runId":"n","workflow":"hook","system":false},"repeated":true}`, string(got))
	f.err = errors.New("secret of the house")
	_, err = receive(f, "hook", "{}", signed("{}")...)
	require.Equal(t, "SERVER_ERROR", err.Code)
	require.NotContains(t, err.Message, "house")
}

// No forged delivery gets through, and no authentic one makes the reader fall over.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{vectorBody, "", "[1,2]", "5", `"x"`, "{nope", `{"issue":{"id":1e999}}`, `{"issue":{"id":"\ud800"}}`, strings.Repeat("[", 20_000)} {
		f.Add([]byte(seed), vectorSig, "d")
	}
	f.Fuzz(func(t *testing.T, body []byte, signature, id string) {
		e := newFake()
		_, err := receive(e, "hook", string(body), "X-Hub-Signature-256", signature, "X-GitHub-Delivery", id)
		if signature != Sign("whsec", "sha256=", body) {
			require.NotNil(t, err)
			require.Equal(t, wire.CodeUnauthorized, err.Code)
			require.Empty(t, e.got)
		}
		_, err = receive(e, "hook", string(body), append(signed(string(body)), "X-GitHub-Delivery", id)...)
		if err != nil {
			require.Equal(t, wire.CodeInvalidInput, err.Code)
			return
		}
		d := e.got[len(e.got)-1]
		require.True(t, json.Valid(d.Input))
		require.Equal(t, byte('{'), d.Input[0])
		require.True(t, json.Valid(d.Signal.Payload))
	})
}
