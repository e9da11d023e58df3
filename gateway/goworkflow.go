package gateway

import "github.com/smithersai/caddy-smithers/gateway/workflow"

// GoWorkflow is a workflow compiled into the binary, with the text that
// listWorkflows shows of it.
type GoWorkflow struct {
	Workflow     workflow.Workflow
	ReadableName string
	Description  string
	Schedule     string // cron pattern; "": none
	System       bool   // hidden from lists unless asked for
}
