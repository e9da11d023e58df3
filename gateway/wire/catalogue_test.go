package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	catalogued := 0
	for _, m := range Methods() {
		require.True(t, m.Known)
		for _, n := range append([]string{m.Name}, m.Legacy...) {
			require.False(t, seen[n], n)
			seen[n] = true
			require.True(t, methodName(n), n)
			require.Equal(t, m, ResolveMethod(n))
		}
		if m.Catalogued {
			catalogued++
		}
		require.True(t, m.Scope == "" && m.Name == MethodConnect || KnownScope(m.Scope), m.Name)
	}
	require.Equal(t, 44, catalogued)

	var widens, wsOnly []string
	for _, m := range Methods() {
		if m.Widens {
			widens = append(widens, m.Name)
		}
		if m.WSOnly {
			wsOnly = append(wsOnly, m.Name)
		}
	}
	require.Equal(t, []string{"launchRun", "resumeRun", "rewindRun", "submitApproval", "submitSignal", "cronRun", "retryTask", "runs.rerun"}, widens)
	require.Equal(t, []string{"streamRunEvents", "streamDevTools", "connect"}, wsOnly)
}

func TestResolveUnknown(t *testing.T) {
	for name, scope := range map[string]string{
		"zork": ScopeRunRead, "config.get": ScopeRunAdmin, "oneshotMonitorAttach": ScopeRunWrite, "ext.ns.key": ScopeRunRead,
		"configuration": ScopeRunRead,
	} {
		m := ResolveMethod(name)
		require.False(t, m.Known)
		require.Equal(t, scope, m.Scope, name)
	}
	require.Equal(t, "Unknown method: zork", UnknownMethod("zork").Message)
	require.Equal(t, "streamRunEvents is only supported over websocket connections",
		ResolveMethod("streamRunEvents").HTTPRefusal("streamRunEvents").Message)
	require.Equal(t, CodeMethodNotFound, ResolveMethod("connect").HTTPRefusal("connect").Code)
	require.Nil(t, ResolveMethod("getRun").HTTPRefusal("getRun"))
}

// The table of the protocol: what each grant entry gives.
func TestImplies(t *testing.T) {
	all := []string{"run:read", "run:write", "run:admin", "approval:submit", "signal:submit", "cron:read", "cron:write",
		"ticket:read", "ticket:write", "account:read", "memory:read", "prompt:read", "score:read", "observability:read"}
	table := map[string][]string{
		"*": all, "admin": all,
		"run:read": {"run:read"}, "run:write": {"run:read", "run:write"}, "run:admin": {"run:read", "run:write", "run:admin"},
		"approval:submit": {"approval:submit"}, "signal:submit": {"signal:submit"},
		"cron:read": {"cron:read"}, "cron:write": {"cron:read", "cron:write"},
		"ticket:read": {"ticket:read"}, "ticket:write": {"ticket:read", "ticket:write"},
		"account:read": {"account:read"}, "memory:read": {"memory:read"}, "prompt:read": {"prompt:read"},
		"score:read": {"score:read"}, "observability:read": {"observability:read"},
		"read":    {"run:read", "cron:read", "ticket:read", "account:read", "memory:read", "prompt:read", "score:read", "observability:read"},
		"execute": {"run:read", "run:write", "signal:submit", "cron:read", "cron:write", "ticket:read", "ticket:write"},
		"approve": {"run:read", "run:write", "approval:submit", "signal:submit", "cron:read", "cron:write", "ticket:read", "ticket:write"},
		"":        nil, "  ": nil, "run": nil, "RUN:READ": nil, "getRun": nil,
	}
	for entry, gives := range table {
		for _, scope := range all {
			require.Equal(t, slices.Contains(gives, scope), Implies([]string{entry}, scope), "%q -> %s", entry, scope)
			require.Equal(t, slices.Contains(gives, scope), Implies([]string{"x", " \t" + entry + " "}, scope))
		}
	}
	require.False(t, Implies(nil, "run:read"))
	require.False(t, Implies([]string{"*"}, "made:up"))
	require.True(t, Implies(nil, ""))
}

func TestHolds(t *testing.T) {
	require.True(t, Holds([]string{"run:write"}, "run:read"))
	require.True(t, Holds([]string{"team:ops"}, "team:ops"))
	require.True(t, Holds([]string{"*"}, "team:ops"))
	require.False(t, Holds([]string{"admin"}, "team:ops"))
	require.False(t, Holds([]string{""}, ""))
}

func TestMethodGrants(t *testing.T) {
	for _, tt := range []struct {
		entry, method string
		want          bool
	}{
		{"getRun", "getRun", true}, {" getRun ", "getRun", true}, {"getRun", "runs.get", false}, {"runs.get", "runs.get", true},
		{"runs.*", "runs.get", true}, {"runs.*", "getRun", false}, {"runs*", "runs.get", false}, {".*", "runs.get", false},
		{"health", "health", true}, {"zork", "zork", false}, {"config.*", "config.get", false}, {"ext.*", "ext.a.b", false},
		{"oneshotMonitorAttach", "oneshotMonitorAttach", false}, {"*", "getRun", false}, {"", "getRun", false},
		{"devtools.*", "devtools.jumpToFrame", true},
	} {
		require.Equal(t, tt.want, GrantsMethod([]string{tt.entry}, tt.method), "%q %q", tt.entry, tt.method)
	}
}

func TestIDs(t *testing.T) {
	for _, id := range []string{"a", "build-7", "_x", "-", "0.1", strings.Repeat("a", 64), "r:child:sub:0", "r:child:N.o@d,e:=-x:0:child:b:12",
		strings.Repeat("a", 240) + ":child:sub:0", "01997e3a-8e1f-7c3e-8f6c-0d1b6c1d8a10"} {
		require.Nil(t, CheckRunID(id), id)
	}
	for _, id := range []string{"", "UPPER", "a b", ".a", strings.Repeat("a", 65), "r:child:sub", "r:child::0", "r:child:sub:x", "r\n",
		strings.Repeat("a", 250) + ":child:sub:0", "r:sub:0"} {
		err := CheckRunID(id)
		require.NotNil(t, err, id)
		require.Equal(t, CodeInvalidRunID, err.Code)
		require.Equal(t, "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.", err.Message)
	}
	require.Nil(t, CheckNodeID("Step:2_x-y"))
	for _, id := range []string{"", "a.b", "a b", strings.Repeat("n", 129)} {
		require.Equal(t, "nodeId must match /^[a-zA-Z0-9:_-]{1,128}$/.", CheckNodeID(id).Message)
	}
}

func TestRowsSendNullAndAbsence(t *testing.T) {
	encode := func(v any) string {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		return string(b)
	}
	no := false
	require.Equal(t, `{"runId":"r","parentRunId":null,"workflowName":"w","workflowPath":null,"workflowHash":null,"status":"running",`+
		`"createdAtMs":1,"startedAtMs":null,"finishedAtMs":null,"heartbeatAtMs":null,"runtimeOwnerId":null,"cancelRequestedAtMs":null,`+
		`"pauseRequestedAtMs":null,"hijackRequestedAtMs":null,"hijackTarget":null,"vcsType":null,"vcsRoot":null,"vcsRevision":null,`+
		`"errorJson":null,"configJson":"{}","cancelRequestId":null,"cancelRequestSource":null,"cancelRequestClientIdentity":null,`+
		`"cancelRequestClientPid":null,"workflowKey":"k","system":false,"summary":{}}`,
		encode(RunRow{RunID: "r", WorkflowName: "w", Status: "running", CreatedAtMs: 1, ConfigJSON: "{}", WorkflowKey: "k", System: &no,
			Summary: map[string]int{}}))
	require.NotContains(t, encode(RunRow{}), "system")
	require.NotContains(t, encode(RunRow{}), "summary")
	require.Equal(t, `{"runId":"r","workflowKey":"approve","nodeId":"gate","iteration":0,"requestTitle":"Ship it?","requestSummary":null,`+
		`"requestedAtMs":null,"approvalMode":"decision","options":[],"allowedScopes":[],"allowedUsers":[],"autoApprove":null}`,
		encode(ApprovalRow{RunID: "r", WorkflowKey: "approve", NodeID: "gate", RequestTitle: "Ship it?", ApprovalMode: ModeDecision}))
	require.Equal(t, `{"runs":[],"approvals":[],"stateVersion":0}`, encode(HelloSnapshot{}))
	require.Equal(t, `{"status":"pending","row":null,"schema":{"fields":[]}}`, encode(NodeOutput{Status: OutputPending, Schema: &OutputSchema{}}))
	require.Equal(t, `{"status":"failed","row":null,"schema":null,"partial":null,"error":{"name":"Error","message":"kaboom","attempt":3}}`,
		encode(NodeOutput{Status: OutputFailed, Partial: json.RawMessage("null"),
			Error: json.RawMessage(encode(NodeError{Name: "Error", Message: "kaboom", Attempt: 3}))}))
	empty := ""
	require.Equal(t, `{"kind":"event","nodeId":"wait","correlationKey":""}`, encode(Blocked{Kind: BlockedEvent, NodeID: "wait", CorrelationKey: &empty}))
	require.Equal(t, `{"sessionToken":"s","role":"operator","scopes":[],"userId":null,"tokenId":null}`,
		encode(HelloAuth{SessionToken: "s", Role: "operator"}))
	require.Equal(t, `{"streamId":"s","runId":"r","afterSeq":null,"currentSeq":3}`, encode(StreamOpened{StreamID: "s", RunID: "r", CurrentSeq: 3}))
}

func TestGrantsAnything(t *testing.T) {
	for _, entry := range []string{"*", "admin", "read", " run:read ", "getRun", "runs.*"} {
		require.True(t, GrantsAnything(entry), entry)
	}
	for _, entry := range []string{"", "run:reed", "finance", "getRunn", "nothing.*", ".*"} {
		require.False(t, GrantsAnything(entry), entry)
	}
}
