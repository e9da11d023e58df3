package jsmod

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
)

// Bounds of the host operations of one machine: those that have not ended, timers
// included, and those of fetch and exec that work at the same time; further ones wait.
const (
	maxOperations = 10_000
	maxAtWork     = 64
)

var errOperations = fmt.Errorf("at most %d timers, fetches and programs of a run may be under way", maxOperations)

// operations are the host operations of a machine that have not ended.
type operations struct {
	mu      sync.Mutex
	running map[int]*operation
	parents map[attemptID]string // traceparents of the running attempts that are traced
	atWork  chan struct{}
}

// trace has what the attempt starts from now on belong to its span.
func (o *operations) trace(by attemptID, traceparent string) {
	if traceparent == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parents == nil {
		o.parents = map[attemptID]string{}
	}
	o.parents[by] = traceparent
}

// traced returns ctx with the span of the attempt, if it has one.
func (o *operations) traced(ctx context.Context, by attemptID) context.Context {
	o.mu.Lock()
	defer o.mu.Unlock()
	return tracing.With(ctx, o.parents[by])
}

func (o *operations) untrace(by attemptID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.parents, by)
}

// add notes an operation that begins.
func (o *operations) add(id int, op *operation) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.running) >= maxOperations {
		return errOperations
	}
	o.running[id] = op
	return nil
}

type operation struct {
	ref, number int
	cancel      context.CancelFunc // nil for timers
	timer       *time.Timer
	every       time.Duration // of an interval
}

// operationEnd is posted when a host operation is over; an interval posts one each
// time.
type operationEnd struct {
	id    int
	value json.RawMessage
	err   *program.Failure
	holds bool // a place among those that work, until it is delivered
}

func (e operationEnd) payload() any {
	if e.err != nil {
		return encodeFailure(e.err)
	}
	return jsonArg(e.value)
}

// programOutput is posted for each chunk of a streamed program's output.
type programOutput struct {
	ref, number  int
	stream, text string
}

func (o *operations) init() {
	o.running, o.atWork = map[int]*operation{}, make(chan struct{}, maxAtWork)
}

// finish reports whether the operation was still wanted, and forgets it unless it
// repeats.
func (o *operations) finish(e operationEnd) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	op, ok := o.running[e.id]
	if !ok {
		return false
	}
	if op.every > 0 {
		op.timer.Reset(op.every)
	} else {
		delete(o.running, e.id)
	}
	return true
}

func (o *operations) stop(id int) {
	o.mu.Lock()
	op, ok := o.running[id]
	if ok && op.timer != nil {
		op.timer.Stop()
		delete(o.running, id)
	}
	o.mu.Unlock()
	if ok && op.cancel != nil {
		op.cancel() // its end is delivered as a failure
	}
}

// cancelAttempt ends what an aborted attempt waits for, except its timers.
func (o *operations) cancelAttempt(ref, number int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range o.running {
		if op.ref == ref && op.number == number && op.cancel != nil {
			op.cancel()
		}
	}
}

func (o *operations) stopAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, op := range o.running {
		if op.timer != nil {
			op.timer.Stop()
		}
		if op.cancel != nil {
			op.cancel()
		}
		delete(o.running, id)
	}
}

// startOperation serves the asynchronous host operations.
func (m *machine) startOperation(op string, args []any) (any, error) {
	switch op {
	case "timer":
		return nil, m.startTimer(argInt(args, 0), time.Duration(argInt(args, 1))*time.Millisecond, argBool(args, 2))
	case "stop":
		m.operations.stop(argInt(args, 0))
	case "fetch":
		return nil, m.begin(args, m.module.host.fetch)
	case "exec":
		return nil, m.begin(args, m.exec)
	default:
		return nil, fmt.Errorf("host: no operation %q", op)
	}
	return nil, nil
}

func (m *machine) startTimer(id int, d time.Duration, repeat bool) error {
	op := &operation{}
	if repeat {
		op.every = d
	}
	post := m.env.Post
	m.operations.mu.Lock()
	defer m.operations.mu.Unlock()
	if len(m.operations.running) >= maxOperations {
		return errOperations
	}
	op.timer = time.AfterFunc(d, func() { post(operationEnd{id: id}) })
	m.operations.running[id] = op
	return nil
}

// attemptID names the attempt that started an operation.
type attemptID struct{ ref, number int }

// begin runs an operation on a goroutine of its own: args are its number, the
// attempt's reference and number, and JSON.
func (m *machine) begin(args []any, do func(ctx context.Context, by attemptID, request []byte) (any, error)) error {
	id, by, request := argInt(args, 0), attemptID{argInt(args, 1), argInt(args, 2)}, argJSON(args, 3)
	ctx, cancel := context.WithCancel(m.operations.traced(m.ctx, by))
	if err := m.operations.add(id, &operation{ref: by.ref, number: by.number, cancel: cancel}); err != nil {
		cancel()
		return err
	}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		defer cancel()
		end := operationEnd{id: id}
		var value any
		err := m.operations.wait(ctx)
		if err == nil {
			value, err = do(ctx, by, request)
			end.holds = true // or results would pile up before a workflow that is slow to take them
		}
		if err == nil {
			end.value, err = json.Marshal(value)
		}
		if err != nil {
			end.err = operationFailure(ctx, err)
		}
		m.env.Post(end)
	}()
	return nil
}

// wait takes a place among those that work.
func (o *operations) wait(ctx context.Context) error {
	select {
	case o.atWork <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func operationFailure(ctx context.Context, err error) *program.Failure {
	f, ok := err.(*program.Failure)
	switch {
	case ctx.Err() != nil:
		return &program.Failure{Name: "AbortError", Message: "This operation was aborted", Code: "ABORT_ERR"}
	case ok:
		return f
	}
	return &program.Failure{Name: "TypeError", Message: err.Error()}
}
