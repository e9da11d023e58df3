package openapi

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// about is what the table of methods does not say of one. Where nothing is known the
// document says "an object" and "anything".
type about struct {
	text     string
	params   object
	required []string
	result   any // a value of the type
}

func text(description string) object    { return object{"type": "string", "description": description} }
func whole(description string) object   { return object{"type": "integer", "description": description} }
func boolean(description string) object { return object{"type": "boolean", "description": description} }
func anything(description string) object {
	return object{"description": description}
}

func filter(properties object) object {
	return object{"filter": object{"type": "object", "properties": properties}}
}

var runID = object{"runId": text("Id of the run.")}

func with(base object, more object) object {
	all := object{}
	for _, m := range []object{base, more} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

var nodeParams = with(runID, object{"nodeId": text("Id of the node."), "iteration": whole("Iteration of the node, from 0.")})

var methods = map[string]about{
	wire.MethodHealth: {text: "Describes the gateway.", result: wire.Health{}},
	wire.MethodLaunchRun: {text: "Launches a run.", required: []string{"workflow"}, result: wire.Launched{}, params: object{
		"workflow": text("Key of the workflow."),
		"input":    object{"type": "object", "description": "Input of the run."},
		"runId":    text("Id of the run to be; options.runId means the same."),
		"options": object{"type": "object", "properties": object{
			"runId": text("Id of the run to be."), "idempotencyKey": text("Launches with the same key give the same run."),
			"maxConcurrency": whole("Task attempts that overlap."), "maxOutputBytes": whole("Bytes of a tool's output."),
			"toolTimeoutMs": whole("Time of a tool, in milliseconds."), "allowNetwork": boolean("Whether tools may use the network."),
			"startedBy": object{"type": "object"},
		}},
	}},
	wire.MethodResumeRun: {text: "Sets a paused or orphaned run to work.", required: []string{"runId"}, params: runID, result: wire.RunStatus{}},
	wire.MethodPauseRun:  {text: "Pauses a run once its attempts have ended.", required: []string{"runId"}, params: runID, result: wire.RunStatus{}},
	wire.MethodCancelRun: {text: "Cancels a run.", required: []string{"runId"}, params: runID, result: wire.Cancelled{}},
	wire.MethodSubmitApproval: {text: "Decides an approval.", required: []string{"runId", "nodeId"}, result: wire.Decided{},
		params: with(nodeParams, object{"approved": boolean("The decision."), "note": text("Shown beside it."),
			"decision": anything("A choice, ranking or {approved, note}.")})},
	wire.MethodSubmitSignal: {text: "Sends a signal to a run.", required: []string{"runId"}, result: wire.Signalled{},
		params: with(runID, object{"signalName": text("Name of the signal."), "correlationId": text("Id that the wait must have."),
			"correlationKey": text("Stands for name and id where these are missing."), "data": anything("Payload.")})},
	wire.MethodGetRun: {text: "Shows a run.", required: []string{"runId"}, params: runID, result: wire.RunRow{}},
	wire.MethodListRuns: {text: "Lists runs, newest first.", result: []wire.RunRow{}, params: filter(object{
		"limit": whole("At most so many; 50 when absent."), "offset": whole("Skip so many."), "status": text("Only with this status."),
		"workflow": text("Only of this workflow."), "parentRunId": text("Only children of this run."), "includeSystem": boolean("System runs, too."),
	})},
	"listRunDescendants": {text: "Lists a run with its children and successors.", required: []string{"runId"}, result: []wire.Descendant{},
		params: with(runID, object{"limit": whole("At most so many.")})},
	"listRunTokenUsage": {text: "Lists the token usage that a run reported.", required: []string{"runId"}, params: runID, result: []wire.TokenUsageRow{}},
	wire.MethodListWorkflows: {text: "Lists the workflows.", result: []wire.WorkflowRow{},
		params: object{"includeSystem": boolean("System workflows, too."), "hasUi": boolean("Only those with a page.")}},
	wire.MethodListApprovals: {text: "Lists pending approvals, oldest first.", result: []wire.ApprovalRow{}, params: filter(object{
		"runId": text("Only of this run."), "workflow": text("Only of this workflow."), "limit": whole("At most so many."),
	})},
	wire.MethodListNodeStates: {text: "Lists the nodes of a run.", required: []string{"runId"}, params: runID, result: []wire.NodeStateRow{}},
	"getDevToolsSnapshot": {text: "Shows the tree of a run as of one of its frames.", required: []string{"runId"}, result: wire.DevToolsSnapshot{},
		params: with(runID, object{"frameNo": whole("Number of the frame; the newest when absent.")})},
	"frames.list": {text: "Lists frames of a run, newest first.", required: []string{"runId"}, result: []wire.FrameRow{},
		params: with(runID, object{"limit": whole("At most so many; 50 when absent."), "afterFrameNo": whole("Only those with a higher number.")})},
	"frames.get": {text: "Shows one frame of a run.", required: []string{"runId"}, result: wire.FrameRow{},
		params: with(runID, object{"frameNo": whole("Number of the frame; the newest when absent.")})},
	"runs.diff": {text: "Compares two runs.", required: []string{"leftRunId", "rightRunId"}, result: wire.RunsDiff{},
		params: object{"leftRunId": text("Id of one run."), "rightRunId": text("Id of the other.")}},
	wire.MethodGetNodeOutput: {text: "Shows what a node returned.", required: []string{"runId", "nodeId", "iteration"}, params: nodeParams,
		result: wire.NodeOutput{}},
	wire.MethodGetNodeDiff: {text: "Shows what the programs of a node changed in their git work tree.", required: []string{"runId", "nodeId", "iteration"},
		params: nodeParams, result: wire.Diff{}},
	wire.MethodGetRunDiff: {text: "Shows what the programs of an ended run changed in their git work tree, or how much too large that is.",
		required: []string{"runId"}, params: runID, result: json.RawMessage{}},
	"attempts.list": {text: "Lists attempts, newest first.", required: []string{"runId"}, params: nodeParams, result: []wire.AttemptRow{}},
	"attempts.get": {text: "Shows an attempt.", required: []string{"runId", "nodeId", "iteration", "attempt"}, result: wire.AttemptRow{},
		params: with(nodeParams, object{"attempt": whole("Number of the attempt, from 1.")})},
	wire.MethodRewindRun: {text: "Takes a run back to a frame and sets it to work from there.", required: []string{"runId", "frameNo", "confirm"}, result: wire.Rewound{},
		params: with(runID, object{"frameNo": whole("Number of the frame, from 1."), "confirm": boolean("Must be true: what lies beyond will be done again."),
			"force": boolean("Also if side effects will be repeated."), "noRevert": boolean("No effect: there are no compensations.")})},
	wire.MethodRerun: {text: "Launches a run with the input of another.", required: []string{"runId"}, params: runID, result: wire.Launched{}},
	wire.MethodRunsMove: {text: "Moves a run that waits or is paused to the newest version of its workflow. An extension of the protocol.",
		required: []string{"runId", "to"}, result: wire.RunMoved{},
		params: with(runID, object{"to": object{"type": "string", "enum": []string{wire.MoveToCurrent}}})},
	wire.MethodAuditList: {text: "Lists the audit table, newest first. An extension of the protocol.", result: []wire.AuditRow{}, params: filter(object{
		"runId": text("Only of this run."), "action": text("Only this action."), "actor": text("Only by this user or token."),
		"tokenId": text("Only of this token."), "sinceMs": whole("Only from this time on, milliseconds since 1970."),
		"beforeId": whole("Only entries before this one, for the next page."), "afterId": whole("Only entries after this one."),
		"limit": whole("At most so many; 50 when absent."),
	})},
	wire.MethodCronList: {text: "Lists schedules, oldest first.", params: filter(object{"workflow": text("Only of this workflow.")}),
		result: []wire.CronRow{}},
	wire.MethodCronCreate: {text: "Makes a schedule, or changes the one with the same id.", required: []string{"workflow", "pattern"}, result: wire.CronRow{},
		params: object{"workflow": text("Key of the workflow."), "pattern": text("Five fields, six with leading seconds, or an alias such as @hourly."),
			"cronId": text("Id; gateway:<key> is a workflow's own."), "enabled": boolean("Whether it fires; true when absent."),
			"timeZone": text("IANA name; local time when absent.")}},
	wire.MethodCronDelete: {text: "Removes a schedule.", required: []string{"cronId"}, params: object{"cronId": text("Id of the schedule.")}, result: wire.CronRemoved{}},
	wire.MethodCronRun: {text: "Launches the workflow of a schedule now.", result: wire.Launched{}, params: object{
		"cronId": text("Id of the schedule."), "workflow": text("Key of the workflow, without a schedule."), "input": object{"type": "object"}}},
	"getSchemaSignature": {result: json.RawMessage{}},
}
