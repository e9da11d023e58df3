package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDecodeFrame(t *testing.T) {
	long := func(n int) string { return strings.Repeat("m", n) }
	tests := []struct{ name, in, id, method, params, want string }{
		{"whole", `{"type":"req","id":"r1","method":"getRun","params":{"runId":"x"}}`, "r1", "getRun", `{"runId":"x"}`, ""},
		{"dots", `{"type":"req","id":"1","method":"runs.get"}`, "1", "runs.get", `{}`, ""},
		{"empty id", `{"type":"req","id":"","method":"health"}`, "", "health", `{}`, ""},
		{"unknown members", `{"type":"req","id":"a","method":"health","extra":1}`, "a", "health", `{}`, ""},
		{"params no object", `{"type":"req","id":"a","method":"health","params":"str"}`, "a", "health", `{}`, ""},
		{"params array", `{"type":"req","id":"a","method":"health","params":[1]}`, "a", "health", `{}`, ""},
		{"last member counts", `{"type":"req","id":"a","id":"b","method":"health"}`, "b", "health", `{}`, ""},
		{"no UTF-8", "{\"type\":\"req\",\"id\":\"a\",\"method\":\"health\",\"params\":{\"x\":\"\xff\"}}", "a", "health", `{"x":"\ufffd"}`, ""},
		{"escaped member", `{"\u0074ype":"req","id":"a","method":"health"}`, "a", "health", `{}`, ""},
		{"id of 128", `{"type":"req","id":"` + long(128) + `","method":"health"}`, long(128), "health", `{}`, ""},
		{"method of 64", `{"type":"req","id":"a","method":"` + long(64) + `"}`, "a", long(64), `{}`, ""},

		{"no JSON", `{nope`, InvalidID, "", "", "Gateway RPC payload must be valid JSON."},
		{"array", `[]`, InvalidID, "", "", "Gateway frame must be a request object."},
		{"null", `null`, InvalidID, "", "", "Gateway frame must be a request object."},
		{"scalar", `5`, InvalidID, "", "", "Gateway frame must be a request object."},
		{"other type", `{"type":"foo","id":"1","method":"health"}`, "1", "", "", "Gateway frame must be a request object."},
		{"no type", `{"id":"1","method":"health"}`, "1", "", "", "Gateway frame must be a request object."},
		{"case matters", `{"Type":"req","id":"1","method":"health"}`, "1", "", "", "Gateway frame must be a request object."},
		{"id number", `{"type":"req","id":5,"method":"health"}`, InvalidID, "", "", "Gateway frame id must be a string."},
		{"no id", `{"type":"req","method":"health"}`, InvalidID, "", "", "Gateway frame id must be a string."},
		{"id of 129", `{"type":"req","id":"` + long(129) + `","method":"health"}`, InvalidID, "", "", "id exceeds the maximum length of 128 characters."},
		{"method number", `{"type":"req","id":"a","method":5}`, "a", "", "", "Gateway method name must be a string."},
		{"no method", `{"type":"req","id":"a"}`, "a", "", "", "Gateway method name must be a string."},
		{"method of 65", `{"type":"req","id":"a","method":"` + long(65) + `"}`, "a", "", "", "method exceeds the maximum length of 64 characters."},
		{"bounds echo the id (Q28)", `{"type":"req","id":"a","method":"health","params":{"x":[` + strings.Repeat("0,", 256) + `0]}}`, "a", "", "",
			"gateway frame contains an array exceeding 256 items."},
		{"id behind the fault (Q28)", `{"params":[` + strings.Repeat("0,", 256) + `0],"type":"req","id":"z","method":"health"}`, "z", "", "",
			"gateway frame contains an array exceeding 256 items."},
	}
	for _, name := range []string{"Bad", "a_b", "a-b", "a.", ".a", "a..b", "", "1a", "a.B", "a b", "é"} {
		tests = append(tests, struct{ name, in, id, method, params, want string }{
			"method " + name, `{"type":"req","id":"a","method":"` + name + `"}`, "a", "", "", "Gateway method name is invalid."})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := DecodeFrame([]byte(tt.in))
			require.Equal(t, tt.id, req.ID)
			if tt.want != "" {
				require.NotNil(t, err)
				require.Equal(t, CodeInvalidInput, err.Code)
				require.Equal(t, tt.want, err.Message)
				return
			}
			require.Nil(t, err)
			require.Equal(t, tt.method, req.Method)
			require.JSONEq(t, tt.params, string(req.Params))
		})
	}
}

func TestDecodeBody(t *testing.T) {
	tests := []struct{ name, path, in, id, method, params, code, want string }{
		{"params are the body", "getRun", `{"runId":"x"}`, "f", "getRun", `{"runId":"x"}`, "", ""},
		{"method key means params", "health", `{"method":"getRun","id":"abc","params":{"runId":"x"}}`, "abc", "health", `{"runId":"x"}`, "", ""},
		{"params without method", "getRun", `{"params":{"runId":"x"}}`, "f", "getRun", `{"params":{"runId":"x"}}`, "", ""},
		{"method of any type", "getRun", `{"method":null,"runId":"x"}`, "f", "getRun", `{}`, "", ""},
		{"empty body", "health", "", "f", "health", `{}`, "", ""},
		{"id", "health", `{"id":"abc"}`, "abc", "health", `{"id":"abc"}`, "", ""},
		{"id number", "health", `{"id":5}`, "f", "health", `{"id":5}`, "", ""},
		{"rpc", "", `{"id":"q","method":"getRun","params":[1]}`, "q", "getRun", `{}`, "", ""},
		{"rpc, number id", "", `{"id":5,"method":"health"}`, "f", "health", `{}`, "", ""},

		{"rpc empty", "", "", "f", "", "", CodeInvalidInput, "Gateway method name must be a string."},
		{"rpc without method", "", `{"id":"1"}`, "f", "", "", CodeInvalidInput, "Gateway method name must be a string."},
		{"no JSON", "health", `{`, "f", "", "", CodeInvalidInput, "Gateway RPC payload must be valid JSON."},
		{"array", "health", `[]`, "f", "", "", CodeInvalidRequest, "RPC body must be a JSON object"},
		{"null", "health", `null`, "f", "", "", CodeInvalidRequest, "RPC body must be a JSON object"},
		{"object before bounds", "health", `[` + strings.Repeat("0,", 256) + `0]`, "f", "", "", CodeInvalidRequest, "RPC body must be a JSON object"},
		{"bounds", "health", `{"id":"x","a":[` + strings.Repeat("0,", 256) + `0]}`, "f", "", "", CodeInvalidInput, "gateway frame contains an array exceeding 256 items."},
		{"bad method", "Bad-Method", `{}`, "f", "", "", CodeInvalidInput, "Gateway method name is invalid."},
		{"dots", "a..b", `{}`, "f", "", "", CodeInvalidInput, "Gateway method name is invalid."},
		{"method before id", "Bad", `{"id":"` + strings.Repeat("i", 129) + `"}`, "f", "", "", CodeInvalidInput, "Gateway method name is invalid."},
		{"long id", "health", `{"id":"` + strings.Repeat("i", 129) + `"}`, "f", "", "", CodeInvalidInput, "id exceeds the maximum length of 128 characters."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := DecodeBody(tt.path, []byte(tt.in), "f")
			require.Equal(t, tt.id, req.ID)
			if tt.want != "" {
				require.NotNil(t, err)
				require.Equal(t, tt.code, err.Code)
				require.Equal(t, tt.want, err.Message)
				return
			}
			require.Nil(t, err)
			require.Equal(t, tt.method, req.Method)
			require.JSONEq(t, tt.params, string(req.Params))
		})
	}
}

func TestDecodeConnect(t *testing.T) {
	tests := []struct{ name, params, code, want string }{
		{"absent", ``, CodeInvalidRequest, "Connect params must be an object"},
		{"text", `"x"`, CodeInvalidRequest, "Connect params must be an object"},
		{"array", `[]`, CodeInvalidRequest, "Connect params must be an object"},
		{"empty", `{}`, CodeInvalidRequest, "Connect request is missing protocol negotiation fields"},
		{"no client", `{"minProtocol":1,"maxProtocol":1}`, CodeInvalidRequest, "Connect request is missing protocol negotiation fields"},
		{"falsy client", `{"minProtocol":1,"maxProtocol":1,"client":0}`, CodeInvalidRequest, "Connect request is missing protocol negotiation fields"},
		{"text number", `{"minProtocol":"1","maxProtocol":1,"client":{}}`, CodeInvalidRequest, "Connect request is missing protocol negotiation fields"},
		{"zero", `{"minProtocol":0,"maxProtocol":1,"client":{}}`, CodeInvalidInput, "minProtocol must be a finite number greater than 0."},
		{"negative", `{"minProtocol":1,"maxProtocol":-1,"client":{}}`, CodeInvalidInput, "maxProtocol must be a finite number greater than 0."},
		{"infinite", `{"minProtocol":1,"maxProtocol":1e999,"client":{}}`, CodeInvalidInput, "maxProtocol must be a finite number greater than 0."},
		{"fraction", `{"minProtocol":1.5,"maxProtocol":2,"client":{}}`, CodeInvalidInput, "minProtocol must be an integer greater than 0."},
		{"range above", `{"minProtocol":2,"maxProtocol":3,"client":{}}`, CodeProtocolUnsupported, "Gateway protocol 1 is not supported by the client"},
		{"client text", `{"minProtocol":1,"maxProtocol":1,"client":"x"}`, "", ""},
		{"wide range", `{"minProtocol":1,"maxProtocol":7,"client":{}}`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var req Request
			req.setParams([]byte(tt.params))
			_, err := DecodeConnect(req)
			if tt.want == "" {
				require.Nil(t, err)
				return
			}
			require.NotNil(t, err)
			require.Equal(t, tt.code, err.Code)
			require.Equal(t, tt.want, err.Message)
		})
	}

	connect := func(extra string) Connect {
		var req Request
		req.setParams([]byte(`{"minProtocol":1,"maxProtocol":1,"client":{"id":"c"}` + extra + `}`))
		c, err := DecodeConnect(req)
		require.Nil(t, err)
		return c
	}
	require.Equal(t, Connect{Client: json.RawMessage(`{"id":"c"}`)}, connect(""))
	require.Equal(t, "tok", connect(`,"auth":{"token":"tok"}`).Token)
	require.Empty(t, connect(`,"auth":{"token":5}`).Token)
	require.Empty(t, connect(`,"auth":"tok"`).Token)
	require.Nil(t, connect(`,"subscribe":"x"`).Subscribe)
	require.Nil(t, connect(`,"subscribe":null`).Subscribe)
	require.Equal(t, []string{}, connect(`,"subscribe":[]`).Subscribe)
	require.Equal(t, []string{"a", "b"}, connect(`,"subscribe":["a",1,null,"b"]`).Subscribe)
}

func TestPositiveInt(t *testing.T) {
	for raw, want := range map[string]int{"": 50, "null": 50, "5": 5, `"5"`: 5, `" 7 "`: 7, "true": 1, "1e2": 100, "100000000": 1000} {
		got, err := PositiveInt("limit", json.RawMessage(raw), 50, 1000)
		require.Nil(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for raw, want := range map[string]string{
		"0": "limit must be a finite number greater than 0.", "-1": "limit must be a finite number greater than 0.",
		`"x"`: "limit must be a finite number greater than 0.", "{}": "limit must be a finite number greater than 0.",
		"false": "limit must be a finite number greater than 0.", `""`: "limit must be a finite number greater than 0.",
		"1.5": "limit must be an integer greater than 0.",
	} {
		_, err := PositiveInt("limit", json.RawMessage(raw), 50, 1000)
		require.NotNil(t, err, raw)
		require.Equal(t, want, err.Message, raw)
	}
}

func TestResponses(t *testing.T) {
	require.Equal(t, `{"type":"res","id":"r1","ok":true,"apiVersion":"v1","payload":{"a":1}}`,
		string(AppendResult(nil, "r1", json.RawMessage(`{"a":1}`))))
	require.Equal(t, `{"type":"res","id":"r1","ok":true,"apiVersion":"v1","payload":null}`, string(AppendResult(nil, "r1", nil)))
	require.Equal(t, `{"type":"res","id":"r5","ok":false,"apiVersion":"v1","error":{"version":"v1","code":"FORBIDDEN",`+
		`"message":"Missing required scope run:write for launchRun","requiredScope":"run:write"}}`,
		string(AppendFailure(nil, "r5", MissingScope(ScopeRunWrite, "launchRun"))))
	require.True(t, json.Valid(AppendFailure(nil, "x", Errorf("X", "y").With("bad", func() {}))))
}

func FuzzFrame(f *testing.F) {
	for _, s := range []string{
		`{"type":"req","id":"r1","method":"getRun","params":{"runId":"x"}}`, `[]`, `{"type":"req","id":5}`, `{"id":"\ud83d"}`,
		`{"type":"req","id":"a","id":"b","method":"health","params":{"options":{"startedBy":{"prompt":"x"}}}}`,
		`{"type":"req","id":"a","method":"connect","params":{"minProtocol":1,"maxProtocol":1,"client":{},"subscribe":["a",2]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := DecodeFrame(data)
		if UnitCount(req.ID) > MaxIDUnits || !utf8.ValidString(req.ID) {
			t.Fatalf("id %q", req.ID)
		}
		if err != nil {
			if !json.Valid(AppendFailure(nil, req.ID, err)) {
				t.Fatal("failure is no JSON")
			}
			return
		}
		if !methodName(req.Method) || len(req.Params) == 0 || req.Params[0] != '{' || !json.Valid(req.Params) || !utf8.Valid(req.Params) {
			t.Fatalf("accepted %q as %+v", data, req)
		}
		_, _ = DecodeConnect(req)
		if _, err := DecodeBody("", data, "f"); err != nil && err.Message != errMethodType.Message {
			t.Fatalf("a good frame is a good body too: %v", err)
		}
	})
}
