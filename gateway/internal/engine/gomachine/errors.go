package gomachine

import (
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// nodeError is how a node's failure reaches the workflow function.
type nodeError struct {
	node    string
	failure *program.Failure
}

func (e *nodeError) Error() string {
	if e.node == "" {
		return e.failure.Message
	}
	return e.node + ": " + e.failure.Message
}

// Unwrap gives the sentinel that the failure's code stands for.
func (e *nodeError) Unwrap() error {
	switch e.failure.Code {
	case program.CodeCancelled:
		return workflow.ErrCancelled
	case program.CodeApprovalDenied:
		return workflow.ErrDenied
	case program.CodeTaskTimeout, program.CodeHeartbeatTimeout, program.CodeSignalTimeout, program.CodeApprovalTimeout:
		return workflow.ErrTimeout
	}
	return nil
}

// failureOf encodes an error of user code. A node's failure that is returned as it
// is keeps everything; one that the user has wrapped becomes the cause.
func failureOf(err error) *program.Failure {
	if f := new(program.Failure); errors.As(err, &f) {
		return &program.Failure{Name: f.Name, Message: err.Error(), Code: f.Code, Details: f.Details, Cause: f.Cause, Stack: f.Stack, NoRetry: f.NoRetry}
	}
	var ne *nodeError
	if !errors.As(err, &ne) {
		return &program.Failure{Name: "Error", Message: err.Error()}
	}
	if error(ne) == err {
		own := *ne.failure // the engine has the original
		return &own
	}
	return &program.Failure{Name: "Error", Message: err.Error(), Cause: ne.failure}
}

// abortError is the cancellation cause that an aborted task sees.
func abortError(reason *program.Failure) error {
	if reason == nil {
		return workflow.ErrCancelled
	}
	return &nodeError{failure: reason}
}
