package upstream

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []string{`{"type":"res","id":"a","ok":true,"apiVersion":"v1","payload":{"a":1}}`, `{"type":"res","ok":true}`,
		`{"type":"res","ok":false,"error":{"version":"v1","code":"NOT_FOUND","message":"/home/x/y gone","status":1e99}}`,
		`{"type":"res","ok":false,"error":"x"}`, `<html>502</html>`, `{"type":"res","ok":null}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		payload, refusal, err := decodeFrame(body)
		if err == nil && refusal == nil {
			require.True(t, json.Valid(payload))
			scrubbed := scrubErrors(payload)
			require.True(t, json.Valid(scrubbed))
		}
		if refusal != nil {
			require.NotEmpty(t, refusal.Code)
			_, err := json.Marshal(refusal)
			require.NoError(t, err)
		}
		_, _, _ = decodeEnvelope(body)
		_, _, _ = pushedRun(body)
		require.GreaterOrEqual(t, lastSilence, tickOf(body))
		_, _, _ = decodeHanded(body)
	})
}

func FuzzDecodeLog(f *testing.F) {
	for _, s := range []string{
		`[{"runId":"r","seq":0,"event":"NodeStarted","payload":{"nodeId":"n","iteration":0,"attempt":1},"timestampMs":5}]`,
		`[{"runId":"r","seq":0,"event":"RunFailed","payload":{"error":{"message":"m","stack":"at /a/b","cause":{"stack":1}}},"timestampMs":5}]`,
		`[{"runId":"r","seq":0,"event":"NodeOutput","payload":{"text":"` + strings.Repeat("é\\u0001", 400) + `"},"timestampMs":5}]`,
		`[{"runId":"r","seq":1,"event":"ApprovalRequested","payload":{"nodeId":"g","request":{"mode":1}},"timestampMs":5},{"runId":"r","seq":1,"event":"X"}]`,
		`[{"runId":"r","seq":3,"event":"RunStatusChanged","payload":{"status":["x"]}}]`, `[null]`, `{}`, `[{"seq":-1}]`,
		`[{"runId":"r","seq":0,"event":"RunFinished","payload":{"failedChildKeys":5},"timestampMs":-5}]`,
	} {
		f.Add([]byte(s))
	}
	const limit = 1024
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := decodeLog("r", data)
		if err != nil {
			return
		}
		last := int64(-1)
		for _, ev := range events {
			require.Greater(t, *ev.Seq, last)
			last = *ev.Seq
			stored := translate(ev, limit)
			for _, part := range []json.RawMessage{stored.Payload, stored.Detail} {
				if len(part) > 0 {
					var m map[string]json.RawMessage
					require.NoError(t, json.Unmarshal(part, &m), string(part))
				}
			}
			_ = identity(ev)
			members := map[string]json.RawMessage{}
			_ = json.Unmarshal(ev.Payload, &members)
			row := runOf(&hostRow{RunID: "r", Status: wire.RunRunning, ConfigJSON: string(ev.Payload)})
			follow(row, ev, members)
			if a := approvalOf(ev, members); a != nil {
				require.NotEmpty(t, a.NodeID)
			}
		}
	})
}

func FuzzDecodeRows(f *testing.F) {
	f.Add([]byte(`[{"runId":"r","status":"running","createdAtMs":1,"configJson":"{\"gatewayTriggeredBy\":\"cron:gateway\"}","errorJson":"{"}]`))
	f.Add([]byte(`[{"runId":"r","status":"finished","finishedAtMs":null,"configJson":"x","parentRunId":"p"},null,{"status":5}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, all, err := decodeRows(data)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, all, len(rows))
		for _, h := range rows {
			r := runOf(h)
			require.NotEmpty(t, r.RunID)
			require.True(t, len(r.Config) == 0 || json.Valid(r.Config))
			require.True(t, len(r.Error) == 0 || json.Valid(r.Error))
		}
	})
}

// Payloads are bounded and stay JSON of whole characters.
func TestLongEventsAreCut(t *testing.T) {
	seq := int64(0)
	for _, text := range []string{strings.Repeat("x", 5000), strings.Repeat("é", 5000), strings.Repeat("\x01", 5000), strings.Repeat("漢字", 3000)} {
		payload := mustJSON(map[string]any{"nodeId": "n", "iteration": 1, "attempt": 2, "text": text, "stream": "stdout"})
		ev := translate(&logged{RunID: "r", Seq: &seq, Event: wire.TypeNodeOutput, Payload: payload}, 1024)
		require.LessOrEqual(t, len(ev.Payload), 1024)
		var m struct {
			NodeID, Output, Stream string
			Truncated              bool
		}
		require.NoError(t, json.Unmarshal(ev.Payload, &m))
		require.True(t, m.Truncated)
		require.Equal(t, "n", m.NodeID)
		require.Equal(t, "stdout", m.Stream)
		require.Greater(t, len(m.Output), 100)
		require.True(t, utf8.ValidString(m.Output))
		require.True(t, strings.HasPrefix(text, m.Output))
	}
}

// Stacks and paths of the server stay there.
func TestFailuresAreScrubbed(t *testing.T) {
	ev := translate(&logged{RunID: "r", Event: wire.TypeNodeFailed, Payload: json.RawMessage(
		`{"nodeId":"n","iteration":0,"attempt":1,"error":{"name":"Error","message":"in /home/me/x.ts","stack":"at /home/me/x.ts:1","cause":{"message":"m","stack":"s"}}}`)}, 4096)
	require.NotContains(t, string(ev.Payload), "stack")
	require.NotContains(t, string(ev.Payload), "/home/me")
	rows := scrubErrors(json.RawMessage(`[{"runId":"r","createdAtMs":1795684492578,"errorJson":"{\"message\":\"m\",\"stack\":\"at /home/me\"}"}]`))
	require.NotContains(t, string(rows), "stack")
	require.Contains(t, string(rows), "1795684492578")
}

// Nothing that a caller is called becomes a scope, a header or another caller.
func TestIdentityCannotBeForged(t *testing.T) {
	id := source.Identity{UserHeader: "X-User-Id", ScopesHeader: "X-User-Scopes", RoleHeader: "X-User-Role"}
	h := headers(id, source.Caller{User: "a\r\nX-User-Scopes: *", Role: "op\nadmin", Scopes: []string{"run:read *", "x,admin", "a;b", "tab\t*", "", "team:ops"}})
	require.Equal(t, "team:ops", h.Get("X-User-Scopes"))
	require.Equal(t, "a%0D%0AX-User-Scopes:%20*", h.Get("X-User-Id"))
	require.Equal(t, "op%0Aadmin", h.Get("X-User-Role"))
	h = headers(id, source.Caller{Scopes: []string{"a *"}})
	require.NotEmpty(t, h.Get("X-User-Scopes"), "an absent header would mean defaults")
	seen := map[string]string{}
	for _, name := range []string{"a", "a%0A", "a\n", "a%250A", " a", "a ", "é", "%C3%A9", "50%", "50%25", "plain user"} {
		text := headerText(name)
		require.Empty(t, seen[text], "%q and %q", name, seen[text])
		seen[text] = name
	}
	require.Equal(t, "plain user", headerText("plain user"))
}

func TestParseURL(t *testing.T) {
	for url, want := range map[string]address{
		"http://127.0.0.1:7331":   {"http://127.0.0.1:7331", "tcp", "127.0.0.1:7331"},
		"https://example.com/gw/": {"https://example.com/gw", "tcp", "example.com:443"},
		"http://[::1]":            {"http://[::1]", "tcp", "[::1]:80"},
		"unix//run/smithers.sock": {"http://upstream", "unix", "/run/smithers.sock"},
	} {
		got, err := parseAddress(url)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, url := range []string{"", "example.com", "ftp://x", "http://", "unix/rel", "http://u:p@x", "http://x?y", "http://x#y", "http://%zz"} {
		require.Error(t, ParseURL(url), url)
	}
}
