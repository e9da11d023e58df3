package rpc

import (
	"context"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// failure turns what a method returned into what the client may see.
func (r *Router) failure(ctx context.Context, c *Call, err error) *wire.Error {
	var we *wire.Error
	switch {
	case errors.As(err, &we):
		if wire.Retryable(we.Code) && we.Extra["retryable"] == nil {
			return we.With("retryable", true)
		}
		return we
	case errors.Is(err, store.ErrUnavailable):
		return wire.Errorf(wire.CodeStorageUnavailable, "The gateway cannot write to its database right now; try again.").
			With("retryable", true)
	case errors.Is(err, context.DeadlineExceeded):
		return wire.Errorf(wire.CodeRequestTimeout, "The request took too long.").With("retryable", true)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return wire.Errorf(wire.CodeUnavailable, "The request was abandoned.").With("retryable", true)
	}
	return r.incident(c, err)
}

// notFound is the answer of methods that speak of NOT_FOUND.
func notFound(runID string) *wire.Error {
	return wire.Errorf(wire.CodeNotFound, "Run not found: %s", runID)
}

// runNotFound is the answer of methods that speak of RunNotFound.
func runNotFound(runID string) *wire.Error {
	return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", runID)
}

// loadRun reads a run and answers with missing when there is none.
func loadRun(v *store.View, runID string, missing func(string) *wire.Error) (*store.Run, error) {
	run, err := v.Run(runID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing(runID)
	}
	return run, err
}
