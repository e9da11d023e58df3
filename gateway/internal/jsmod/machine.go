package jsmod

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// scriptProgram makes machines of one workflow of a module.
type scriptProgram struct {
	module *Module
	key    string
}

var _ program.Program = (*scriptProgram)(nil)

// UsesVM is true: every machine holds a VM of its own.
func (p *scriptProgram) UsesVM() bool { return true }

// New takes a VM with the module loaded. It waits while all VMs together use the
// memory they may; ctx bounds the wait.
func (p *scriptProgram) New(ctx context.Context, env program.Env) (program.Machine, error) {
	vm, err := p.module.vm(ctx)
	if err != nil {
		return nil, p.module.failure(err)
	}
	m := &machine{module: p.module, key: p.key, vm: vm, env: env, streamed: make(chan struct{}, maxStreamed)}
	m.ctx, m.cancel = context.WithCancel(p.module.host.ctx)
	m.operations.init()
	vm.handler, vm.key = m, p.key
	return m, nil
}

// machine runs one workflow function in its VM. Methods are called by one
// goroutine, as the interface says; hostCall runs on a worker while one of them
// waits. The lock is for a VM that was abandoned, whose worker may still come back.
type machine struct {
	module *Module
	key    string
	vm     *VM
	env    program.Env
	ctx    context.Context // of host operations, ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of host operations

	mu       sync.Mutex
	detached bool         // the VM broke: nothing it says is heard
	turn     program.Turn // being collected
	spoke    bool         // it has had Outputs or the like
	said     int          // operations in it that can be handed over before its end
	saidSize int          // bytes of their texts

	streamed   chan struct{} // a token for each undelivered programOutput
	operations operations
	broken     *program.Failure
}

// What is kept of a turn before it is handed over, and of a program's output before
// it is delivered.
const (
	maxSaid     = 256
	maxSaidSize = 256 << 10
	maxStreamed = 16 // of up to 32 KiB
)

var _ program.Machine = (*machine)(nil)

func (m *machine) Start(in program.Input) (program.Turn, error) {
	m.vm.key = m.key + "\x00" + in.Auth.TriggeredBy
	input := "null"
	if in.Input != nil {
		if !json.Valid(in.Input) {
			return program.Turn{}, &program.Failure{Name: "Error", Message: "the run's input is not valid JSON"}
		}
		input = string(in.Input)
	}
	auth, err := json.Marshal(in.Auth)
	if err != nil { // texts only: cannot fail
		return program.Turn{}, &program.Failure{Name: "Error", Message: "the run's user cannot be told: " + err.Error()}
	}
	var parent any = quickjs.Undefined{}
	if in.ParentRunID != "" {
		parent = in.ParentRunID
	}
	return m.run("start", m.key, in.StartedAtMs, int(int32(in.Seed>>32)), int(int32(in.Seed)), in.RunID, parent, in.Workflow, input, string(auth))
}

func (m *machine) Settle(s program.Settlement) (program.Turn, error) {
	if s.Err != nil {
		return m.run("settle", s.Ref, false, encodeFailure(s.Err), s.AtMs)
	}
	return m.run("settle", s.Ref, true, jsonArg(s.Value), s.AtMs)
}

func (m *machine) Attempt(a program.Attempt) (program.Turn, error) {
	m.operations.trace(attemptID{int(a.Ref), a.Number}, a.Traceparent)
	return m.run("attempt", a.Ref, a.Number, a.IdempotencyKey)
}

func (m *machine) Abort(ref int64, number int, reason *program.Failure) (program.Turn, error) {
	m.operations.cancelAttempt(int(ref), number)
	var json any
	if reason != nil {
		json = encodeFailure(reason)
	}
	// It may never say that it is over. What its listeners call belongs to its span.
	defer m.operations.untrace(attemptID{int(ref), number})
	return m.run("abort", ref, number, undefinedIfNil(json))
}

// Deliver handles what the machine posted: the end of a host operation, output of
// a running program, the answer to an effect.
func (m *machine) Deliver(event any) (program.Turn, error) {
	switch e := event.(type) {
	case operationEnd:
		if e.holds {
			<-m.operations.atWork
		}
		if !m.operations.finish(e) {
			return program.Turn{}, nil
		}
		return m.run("operation", e.id, e.err == nil, e.payload())
	case programOutput:
		<-m.streamed
		return program.Turn{Ops: []program.Op{program.Output{Ref: int64(e.ref), Number: e.number, Stream: e.stream, Text: e.text}}}, nil
	case effectAnswer:
		if e.err != nil {
			return m.run("effect", e.id, false, encodeFailure(e.err))
		}
		return m.run("effect", e.id, true, jsonArg(e.value))
	}
	return program.Turn{}, nil
}

// Close cancels host operations, waits for their goroutines and returns the VM to the
// module's pool or frees it.
func (m *machine) Close() {
	m.cancel()
	m.operations.stopAll()
	m.wg.Wait()
	vm := m.vm
	if vm == nil {
		return
	}
	m.vm = nil
	if m.broken == nil {
		m.broken = &program.Failure{Name: "Error", Message: "the machine is closed"}
	}
	if !m.module.pool.give(vm) {
		vm.close()
	}
}

// run does one turn and returns what the workflow asked for in it.
func (m *machine) run(args ...any) (program.Turn, error) {
	if m.broken != nil {
		return program.Turn{}, m.broken
	}
	m.turn, m.spoke, m.said, m.saidSize = program.Turn{}, false, 0, 0
	unknown, err := m.vm.turn(args...)
	if err != nil {
		m.mu.Lock()
		m.detached = true
		m.mu.Unlock()
		m.broken = m.module.failure(err)
		return program.Turn{}, m.broken
	}
	if unknown != 0 {
		m.broken = &program.Failure{Name: "Error", Code: program.CodeNonDeterministic, Message: "a settlement names a request that was never made"}
		return program.Turn{}, m.broken
	}
	turn := m.turn
	m.turn = program.Turn{}
	if m.spoke && m.env.WaitCommits != nil { // many short turns are held back, too
		m.env.WaitCommits(m.ctx)
	}
	return turn, nil
}

func (m *machine) add(op program.Op) { m.turn.Ops = append(m.turn.Ops, op) }

// say adds an operation that need not wait for the turn's end, and hands what there
// is of the kind to the engine when it has become much. The time that this takes is
// not the workflow's.
func (m *machine) say(op program.Op, size int) {
	m.add(op)
	m.spoke = true
	m.said++
	m.saidSize += size
	if m.said < maxSaid && m.saidSize < maxSaidSize || m.env.HandOver == nil {
		return
	}
	said := make([]program.Op, 0, m.said)
	rest := m.turn.Ops[:0]
	for _, op := range m.turn.Ops {
		switch op.(type) {
		case program.Output, program.Usage, program.Heartbeat, program.LogLine:
			said = append(said, op)
		default:
			rest = append(rest, op)
		}
	}
	clear(m.turn.Ops[len(rest):])
	m.turn.Ops, m.said, m.saidSize = rest, 0, 0
	defer m.vm.pause()()
	m.env.HandOver(m.ctx, said)
}

// failure explains to a run why its VM broke.
func (m *Module) failure(err error) *program.Failure {
	var f *program.Failure
	if errors.As(err, &f) {
		return f
	}
	return m.host.failure(err, m.positions)
}

func jsonArg(value json.RawMessage) any {
	if value == nil {
		return undefinedIfNil(nil)
	}
	return string(value)
}
