package gomachine

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// New makes a Program of a compiled workflow. w must be safe for concurrent use:
// every run calls the same value.
func New(w workflow.Workflow) program.Program { return &prog{w: w} }

type prog struct{ w workflow.Workflow }

func (p *prog) New(_ context.Context, env program.Env) (program.Machine, error) {
	return &machine{
		w: p.w, env: env,
		alive: make(map[*coroutine]struct{}), waiting: make(map[int64]*coroutine),
		bodies: make(map[int64]workflow.TaskFunc), attempts: make(map[attemptKey]*attempt),
		entries: make(map[string]int), said: make(chan struct{}, maxUndelivered),
		closed: make(chan struct{}),
	}, nil
}

// UsesVM is false: a compiled run costs a few goroutines.
func (p *prog) UsesVM() bool { return false }

// maxUndelivered bounds what tasks of one run have posted before their ends and the
// engine has not yet taken.
const maxUndelivered = 256

// machine is one execution. All fields but closed and said belong to whoever runs:
// the engine's goroutine or the one coroutine it resumed.
type machine struct {
	w   workflow.Workflow
	env program.Env
	in  program.Input
	now time.Time
	rnd *rand.Rand

	root    *scope
	running *coroutine
	ready   []*coroutine
	alive   map[*coroutine]struct{}
	waiting map[int64]*coroutine // by Request.Ref
	bodies  map[int64]workflow.TaskFunc
	lastRef int64
	effects int            // effects requested so far, names them
	blocks  int            // blocks opened so far, names them
	entries map[string]int // entries into each loop's body

	attempts map[attemptKey]*attempt
	said     chan struct{} // a token for each undelivered Output, Usage and Heartbeat
	closed   chan struct{}
	closing  bool

	turn program.Turn
}

type attemptKey struct {
	ref    int64
	number int
}

// Start begins the workflow function.
func (m *machine) Start(in program.Input) (program.Turn, error) {
	m.in = in
	m.now = time.UnixMilli(in.StartedAtMs)
	m.rnd = rand.New(rand.NewPCG(uint64(in.Seed), 0x736d697468657273))
	m.root = &scope{}
	var value any
	var err error
	m.spawn(m.root, func() { value, err = m.w.Run(&runContext{m: m}) }, func(panicked *program.Failure) {
		m.turn.Done = outcome(value, err, panicked)
	})
	return m.drain()
}

func outcome(value any, err error, panicked *program.Failure) *program.Outcome {
	if panicked != nil {
		return &program.Outcome{Err: panicked}
	}
	if input, ok := workflow.ContinueInput(err); ok {
		raw, encErr := encode(input)
		if encErr != nil {
			return &program.Outcome{Err: failureOf(fmt.Errorf("input of ContinueAsNew: %w", encErr))}
		}
		return &program.Outcome{Continue: raw}
	}
	if err != nil {
		return &program.Outcome{Err: failureOf(err)}
	}
	raw, encErr := encode(value)
	if encErr != nil {
		return &program.Outcome{Err: failureOf(fmt.Errorf("result of the workflow: %w", encErr))}
	}
	return &program.Outcome{Value: raw}
}

// Settle answers a request and runs on.
func (m *machine) Settle(s program.Settlement) (program.Turn, error) {
	co := m.waiting[s.Ref]
	if co == nil {
		return program.Turn{}, &program.Failure{Name: "Error", Message: fmt.Sprintf("nothing waits for request %d", s.Ref)}
	}
	delete(m.waiting, s.Ref)
	delete(m.bodies, s.Ref)
	m.now = time.UnixMilli(s.AtMs)
	co.reply = s
	m.ready = append(m.ready, co)
	return m.drain()
}

// drain resumes coroutines, first come first served, until all of them wait.
func (m *machine) drain() (program.Turn, error) {
	for len(m.ready) > 0 {
		co := m.ready[0]
		m.ready = m.ready[1:]
		m.running = co
		co.resume()
		m.running = nil
	}
	turn := m.turn
	m.turn = program.Turn{}
	return turn, nil
}

// Attempt starts a task body in a goroutine of its own.
func (m *machine) Attempt(a program.Attempt) (program.Turn, error) {
	body := m.bodies[a.Ref]
	if body == nil {
		return program.Turn{}, &program.Failure{Name: "Error", Message: fmt.Sprintf("request %d is not a waiting task", a.Ref)}
	}
	m.startAttempt(a, body)
	return program.Turn{}, nil
}

// Abort cancels the context of an attempt.
func (m *machine) Abort(ref int64, number int, reason *program.Failure) (program.Turn, error) {
	key := attemptKey{ref, number}
	if at := m.attempts[key]; at != nil {
		delete(m.attempts, key)
		at.cancel(abortError(reason))
	}
	return program.Turn{}, nil
}

// Deliver takes what an attempt has posted.
func (m *machine) Deliver(event any) (program.Turn, error) {
	op, ok := event.(program.Op)
	if !ok {
		return program.Turn{}, &program.Failure{Name: "Error", Message: fmt.Sprintf("unknown event %T", event)}
	}
	switch op := op.(type) {
	case program.Output, program.Usage, program.Heartbeat:
		<-m.said
	case program.AttemptEnd:
		key := attemptKey{op.Ref, op.Number}
		if at := m.attempts[key]; at != nil {
			delete(m.attempts, key)
			at.cancel(nil)
		}
	}
	return program.Turn{Ops: []program.Op{op}}, nil
}

// Close unwinds the workflow function and tells running attempts to stop. Attempts
// that ignore their context end by themselves; nothing they post is heard.
func (m *machine) Close() {
	if m.closing {
		return
	}
	m.closing = true
	close(m.closed)
	for _, at := range m.attempts {
		at.cancel(workflow.ErrCancelled)
	}
	clear(m.attempts)
	for len(m.alive) > 0 {
		for co := range m.alive {
			m.running = co
			co.unwind()
		}
	}
	m.running = nil
}

func encode(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// Interface guards
var (
	_ program.Program = (*prog)(nil)
	_ program.Machine = (*machine)(nil)
)
