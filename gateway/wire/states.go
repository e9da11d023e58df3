package wire

// Run statuses as rows carry them. The last four are terminal.
const (
	RunRunning         = "running"
	RunWaitingApproval = "waiting-approval"
	RunWaitingEvent    = "waiting-event"
	RunWaitingTimer    = "waiting-timer"
	RunWaitingQuota    = "waiting-quota"
	RunPaused          = "paused"
	RunFinished        = "finished"
	RunFailed          = "failed"
	RunCancelled       = "cancelled"
	RunContinued       = "continued"
)

// RunTerminal reports whether a run in this status will never work again unless
// somebody retries or rewinds it.
func RunTerminal(status string) bool {
	switch status {
	case RunFinished, RunFailed, RunCancelled, RunContinued:
		return true
	}
	return false
}

// Node states. A node ends in finished, failed, cancelled or skipped.
const (
	NodePending         = "pending"
	NodeInProgress      = "in-progress"
	NodeWaitingApproval = "waiting-approval"
	NodeWaitingEvent    = "waiting-event"
	NodeWaitingTimer    = "waiting-timer"
	NodeFinished        = "finished"
	NodeFailed          = "failed"
	NodeCancelled       = "cancelled"
	NodeSkipped         = "skipped"
)

// NodeEnded reports whether a node in this state has its final result.
func NodeEnded(state string) bool {
	switch state {
	case NodeFinished, NodeFailed, NodeCancelled, NodeSkipped:
		return true
	}
	return false
}

// Approval statuses.
const (
	ApprovalRequested = "requested"
	ApprovalApproved  = "approved"
	ApprovalDenied    = "denied"
)

// Names of pushed events. They are the event member of a plain event frame and of
// a run.event payload.
const (
	EventNodePending          = "node.pending"
	EventNodeStarted          = "node.started"
	EventNodeFinished         = "node.finished"
	EventNodeFailed           = "node.failed"
	EventNodeRetrying         = "node.retrying"
	EventNodeSkipped          = "node.skipped"
	EventNodeCancelled        = "node.cancelled"
	EventNodeWaitingApproval  = "node.waiting_approval"
	EventNodeWaitingTimer     = "node.waiting_timer"
	EventApprovalRequested    = "approval.requested"
	EventApprovalDecided      = "approval.decided"
	EventApprovalAutoApproved = "approval.auto_approved"
	EventTaskOutput           = "task.output"
	EventTaskHeartbeat        = "task.heartbeat"
	EventTokenUsage           = "token.usage"
	EventRunCompleted         = "run.completed"
	EventRunTimeTravelJumped  = "run.time_travel_jumped"
	EventEffectBoundary       = "run.side_effect_boundary_crossed"
	EventCronTriggered        = "cron.triggered"
)

// Names of event frames that exist only on a socket.
const (
	EventChallenge     = "connect.challenge"
	EventTick          = "tick"
	EventRun           = "run.event"
	EventRunHeartbeat  = "run.heartbeat"
	EventRunGapResync  = "run.gap_resync"
	EventRunError      = "run.error"
	EventDevTools      = "devtools.event"
	EventDevToolsError = "devtools.error"
)

// Durable event types: the type member of the log that REST shows.
const (
	TypeRunStarted          = "RunStarted"
	TypeRunStatusChanged    = "RunStatusChanged"
	TypeRunFinished         = "RunFinished"
	TypeRunFailed           = "RunFailed"
	TypeRunCancelled        = "RunCancelled"
	TypeRunContinuedAsNew   = "RunContinuedAsNew"
	TypeNodePending         = "NodePending"
	TypeNodeStarted         = "NodeStarted"
	TypeNodeFinished        = "NodeFinished"
	TypeNodeFailed          = "NodeFailed"
	TypeNodeRetrying        = "NodeRetrying"
	TypeNodeSkipped         = "NodeSkipped"
	TypeNodeCancelled       = "NodeCancelled"
	TypeNodeWaitingApproval = "NodeWaitingApproval"
	TypeNodeWaitingTimer    = "NodeWaitingTimer"
	TypeNodeWaitingEvent    = "NodeWaitingEvent"
	TypeNodeOutput          = "NodeOutput"
	TypeApprovalRequested   = "ApprovalRequested"
	TypeApprovalGranted     = "ApprovalGranted"
	TypeApprovalDenied      = "ApprovalDenied"
	TypeApprovalAutoGranted = "ApprovalAutoApproved"
	TypeTimerCreated        = "TimerCreated"
	TypeTimerFired          = "TimerFired"
	TypeTaskHeartbeat       = "TaskHeartbeat"
	TypeTokenUsageReported  = "TokenUsageReported"
	TypeSignalReceived      = "SignalReceived"
	TypeTimeTravelJumped    = "TimeTravelJumped"
	TypeEffectBoundary      = "SideEffectBoundaryCrossed"
	TypeCronTriggered       = "CronTriggered"
	TypeTaskRetryRequested  = "TaskRetryRequested"
)
