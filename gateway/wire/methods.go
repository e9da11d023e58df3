package wire

import "strings"

// Method describes one RPC method. It is data: the handlers live elsewhere.
type Method struct {
	Name       string   // canonical
	Legacy     []string // other names with the same meaning
	Scope      string   // required scope; "" needs none
	WSOnly     bool     // refused over HTTP
	Catalogued bool     // part of the published catalogue of 44 stable methods
	Widens     bool     // when it (re)starts a run, that run joins the socket's event filter
	Known      bool     // false for what ResolveMethod made up for an unknown name
}

// HTTPRefusal is the answer to a WSOnly method over HTTP, nil for the others.
// Connect does not exist over HTTP at all.
func (m Method) HTTPRefusal(nameAsSent string) *Error {
	if !m.WSOnly {
		return nil
	}
	if m.Name == MethodConnect {
		return UnknownMethod(nameAsSent)
	}
	return Errorf(CodeInvalidRequest, "%s is only supported over websocket connections", m.Name)
}

// Names of the methods that other packages mention.
const (
	MethodConnect         = "connect"
	MethodHealth          = "health"
	MethodLaunchRun       = "launchRun"
	MethodResumeRun       = "resumeRun"
	MethodPauseRun        = "pauseRun"
	MethodCancelRun       = "cancelRun"
	MethodSubmitApproval  = "submitApproval"
	MethodSubmitSignal    = "submitSignal"
	MethodGetRun          = "getRun"
	MethodListRuns        = "listRuns"
	MethodListWorkflows   = "listWorkflows"
	MethodListApprovals   = "listApprovals"
	MethodListNodeStates  = "listNodeStates"
	MethodStreamRunEvents = "streamRunEvents"
	MethodStreamDevTools  = "streamDevTools"
	MethodGetNodeOutput   = "getNodeOutput"
	MethodGetNodeDiff     = "getNodeDiff"
	MethodGetRunDiff      = "getRunDiff"
	MethodCronRun         = "cronRun"
	MethodRewindRun       = "rewindRun"
	MethodRetryTask       = "retryTask"
	MethodRerun           = "runs.rerun"
)

// methods is the whole index of the protocol, in its order, and our own after it.
var methods = []Method{
	{Name: MethodLaunchRun, Legacy: []string{"runs.create"}, Scope: ScopeRunWrite, Catalogued: true, Widens: true},
	{Name: MethodResumeRun, Scope: ScopeRunWrite, Catalogued: true, Widens: true},
	{Name: MethodPauseRun, Legacy: []string{"runs.pause"}, Scope: ScopeRunWrite, Catalogued: true},
	{Name: MethodCancelRun, Legacy: []string{"runs.cancel"}, Scope: ScopeRunWrite, Catalogued: true},
	{Name: "hijackRun", Scope: ScopeRunAdmin, Catalogued: true},
	{Name: MethodRewindRun, Legacy: []string{"jumpToFrame", "devtools.jumpToFrame"}, Scope: ScopeRunAdmin, Catalogued: true, Widens: true},
	{Name: MethodSubmitApproval, Legacy: []string{"approvals.decide"}, Scope: ScopeApprovalSubmit, Catalogued: true, Widens: true},
	{Name: MethodSubmitSignal, Legacy: []string{"signals.send"}, Scope: ScopeSignalSubmit, Catalogued: true, Widens: true},
	{Name: MethodGetRun, Legacy: []string{"runs.get"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodListRuns, Legacy: []string{"runs.list"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: "listRunDescendants", Legacy: []string{"runs.descendants"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: "listRunTokenUsage", Scope: ScopeRunRead, Catalogued: true},
	{Name: "getSchemaSignature", Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodListWorkflows, Legacy: []string{"workflows.list"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodListApprovals, Legacy: []string{"approvals.list"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: "listDocs", Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodStreamRunEvents, Scope: ScopeRunRead, WSOnly: true, Catalogued: true},
	{Name: MethodStreamDevTools, Scope: ScopeObservabilityRead, WSOnly: true, Catalogued: true},
	{Name: "getDevToolsSnapshot", Scope: ScopeObservabilityRead, Catalogued: true},
	{Name: MethodGetNodeOutput, Legacy: []string{"devtools.getNodeOutput"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodGetNodeDiff, Legacy: []string{"devtools.getNodeDiff"}, Scope: ScopeRunRead, Catalogued: true},
	{Name: MethodGetRunDiff, Scope: ScopeRunRead, Catalogued: true},
	{Name: "whatHappened", Scope: ScopeRunRead, Catalogued: true},
	{Name: "cronList", Legacy: []string{"cron.list"}, Scope: ScopeCronRead, Catalogued: true},
	{Name: "cronCreate", Legacy: []string{"cron.add"}, Scope: ScopeCronWrite, Catalogued: true},
	{Name: "cronDelete", Legacy: []string{"cron.remove"}, Scope: ScopeCronWrite, Catalogued: true},
	{Name: MethodCronRun, Legacy: []string{"cron.trigger"}, Scope: ScopeCronWrite, Catalogued: true, Widens: true},
	{Name: "listAccounts", Scope: ScopeAccountRead, Catalogued: true},
	{Name: "listUsageReports", Scope: ScopeAccountRead, Catalogued: true},
	{Name: "listMemoryFacts", Scope: ScopeMemoryRead, Catalogued: true},
	{Name: "listPrompts", Scope: ScopePromptRead, Catalogued: true},
	{Name: "listScores", Scope: ScopeScoreRead, Catalogued: true},
	{Name: "listScoresForRuns", Scope: ScopeScoreRead, Catalogued: true},
	{Name: "getScoreDetail", Scope: ScopeScoreRead, Catalogued: true},
	{Name: "listTickets", Scope: ScopeTicketRead, Catalogued: true},
	{Name: "createTicket", Scope: ScopeTicketWrite, Catalogued: true},
	{Name: "updateTicket", Scope: ScopeTicketWrite, Catalogued: true},
	{Name: "deleteTicket", Scope: ScopeTicketWrite, Catalogued: true},
	{Name: "createBrowserSession", Scope: ScopeRunWrite, Catalogued: true},
	{Name: "browserAct", Scope: ScopeRunWrite, Catalogued: true},
	{Name: "closeBrowserSession", Scope: ScopeRunWrite, Catalogued: true},
	{Name: "browserContext", Scope: ScopeRunRead, Catalogued: true},
	{Name: "browserPick", Scope: ScopeRunRead, Catalogued: true},
	{Name: "listBrowserSessions", Scope: ScopeRunRead, Catalogued: true},

	{Name: MethodHealth, Scope: ScopeRunRead},
	{Name: MethodListNodeStates, Scope: ScopeRunRead},
	{Name: "runs.diff", Scope: ScopeRunRead},
	{Name: "frames.list", Scope: ScopeRunRead},
	{Name: "frames.get", Scope: ScopeRunRead},
	{Name: "attempts.list", Scope: ScopeRunRead},
	{Name: "attempts.get", Scope: ScopeRunRead},
	{Name: MethodRetryTask, Scope: ScopeRunWrite, Widens: true},
	{Name: MethodRerun, Scope: ScopeRunWrite, Widens: true},
	{Name: MethodConnect, WSOnly: true},

	// This gateway's own: extensions, not part of the protocol.
	{Name: MethodRunsMove, Scope: ScopeRunAdmin},
	{Name: MethodAuditList, Scope: ScopeRunAdmin},
}

var methodByName = indexMethods()

func indexMethods() map[string]*Method {
	m := make(map[string]*Method, 2*len(methods))
	for i := range methods {
		e := &methods[i]
		e.Known = true
		m[e.Name] = e
		for _, l := range e.Legacy {
			m[l] = e
		}
	}
	return m
}

// Methods returns the whole index, in the order of the protocol document. The
// caller owns the slice but not the Legacy slices inside it.
func Methods() []Method {
	return append([]Method(nil), methods...)
}

// ResolveMethod returns the method that a sent name means. For an unknown name
// the result carries the name and the scope that is checked before saying so.
func ResolveMethod(nameAsSent string) Method {
	if m, ok := methodByName[nameAsSent]; ok {
		return *m
	}
	m := Method{Name: nameAsSent, Scope: ScopeRunRead}
	switch {
	case strings.HasPrefix(nameAsSent, "config."):
		m.Scope = ScopeRunAdmin
	case strings.HasPrefix(nameAsSent, "oneshotMonitor"):
		m.Scope = ScopeRunWrite
	}
	return m
}

// UnknownMethod is the answer to a name that means no method.
func UnknownMethod(nameAsSent string) *Error {
	return Errorf(CodeMethodNotFound, "Unknown method: %s", nameAsSent)
}
