package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Codes of runs' errors that only the engine makes.
const (
	codeVersionMissing = "WORKFLOW_VERSION_MISSING"
	codeEngineError    = "ENGINE_ERROR"
	codeConflict       = "CONFLICT"
	codeDepth          = "CHILD_RUN_DEPTH"
	codeQueueFull      = "RUN_QUEUE_FULL"
	codeFamily         = "CHILD_RUN_LIMIT"
	codeTooLarge       = "OUTPUT_TOO_LARGE"
	codeEvents         = "RUN_EVENT_LIMIT"
	codeBadRequest     = "INVALID_NODE"
)

// apiError makes the error that callers see. Those that a unit of work chose pass
// through; everything else is the storage's or the caller's own deadline.
func apiError(err error) error {
	if err == nil {
		return nil
	}
	var w *wire.Error
	switch {
	case errors.As(err, &w):
		return w
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeRequestTimeout, "The request took too long; it may still take effect.")
	case errors.Is(err, context.Canceled):
		return wire.Errorf(wire.CodeUnavailable, "The request was abandoned; it may still take effect.")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		return wire.Errorf(wire.CodeStorageUnavailable, "The storage is not available; try again.")
	}
	return wire.Errorf(wire.CodeServerError, "The storage refused the request.")
}

func errStopping() error {
	return wire.Errorf(wire.CodeUnavailable, "The gateway is shutting down; try again.")
}

func errQueueFull(limit int) error {
	return wire.Errorf(wire.CodeRateLimited, "So many runs wait for their turn that no more can be taken (max_queued_runs); try again later.").
		With("limit", limit).With("retryable", true)
}

func errRunNotFound(runID string) error {
	return wire.Errorf(wire.CodeNotFound, "Run not found: %s", runID)
}

// wireFailure is a Failure as clients see it: without the stack.
type wireFailure struct {
	Name    string         `json:"name"`
	Message string         `json:"message"`
	Code    string         `json:"code,omitempty"`
	Details map[string]any `json:"details,omitempty"`
	Cause   *wireFailure   `json:"cause,omitempty"`
}

func publicFailure(f *program.Failure) *wireFailure {
	if f == nil {
		return nil
	}
	w := &wireFailure{Name: f.Name, Message: wire.HidePaths(f.Message), Code: f.Code, Details: f.Details, Cause: publicFailure(f.Cause)}
	if w.Name == "" {
		w.Name = "Error"
	}
	return w
}

func errorField(f *program.Failure) field {
	b, err := json.Marshal(publicFailure(f))
	if err != nil {
		b, _ = json.Marshal(wireFailure{Name: "Error", Message: f.Message, Code: f.Code})
	}
	return raw("error", b)
}

// runFailure is the error of a run whose function failed with f. A node's own
// failure that the function let through becomes the cause.
func runFailure(f *program.Failure) *program.Failure {
	key, ok := f.Details["key"].(string)
	if !ok || f.Code == program.CodeSessionError {
		return f
	}
	cause := *f
	cause.Details = nil
	for k, v := range f.Details {
		if k != "key" {
			if cause.Details == nil {
				cause.Details = make(map[string]any)
			}
			cause.Details[k] = v
		}
	}
	id := key
	if i := strings.LastIndex(key, "::"); i >= 0 {
		id = key[:i]
	}
	return &program.Failure{Name: "SmithersError", Code: program.CodeSessionError, Message: "Task failed: " + id,
		Details: map[string]any{"key": key}, Cause: &cause}
}

// asFailure turns an error of a machine into what the run fails with.
func asFailure(err error) *program.Failure {
	if f := new(program.Failure); errors.As(err, &f) {
		return f
	}
	return &program.Failure{Name: "Error", Message: err.Error()}
}
