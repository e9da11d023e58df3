package jsmod

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
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
	m := &machine{module: p.module, key: p.key, vm: vm, env: env}
	m.ctx, m.cancel = context.WithCancel(p.module.host.ctx)
	m.operations.init()
	vm.handler = m
	return m, nil
}

// machine runs one workflow function in its VM. Methods are called by one
// goroutine, as the interface says; hostCall runs on a worker while one of them
// waits, so no field needs a lock.
type machine struct {
	module *Module
	key    string
	vm     *VM
	env    program.Env
	ctx    context.Context // of host operations, ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of host operations

	turn       program.Turn // being collected
	outputs    int          // Output ops in it
	operations operations
	effects    map[int]struct{}
	broken     *program.Failure
}

var _ program.Machine = (*machine)(nil)

func (m *machine) Start(in program.Input) (program.Turn, error) {
	info, err := json.Marshal(startInfo{RunID: in.RunID, ParentRunID: in.ParentRunID, Workflow: in.Workflow, Input: in.Input, Auth: in.Auth})
	if err != nil {
		return program.Turn{}, &program.Failure{Name: "Error", Message: "the run's input is not valid JSON: " + err.Error()}
	}
	return m.run("start", m.key, string(info), in.StartedAtMs, int(int32(in.Seed>>32)), int(int32(in.Seed)))
}

// startInfo is what the prelude makes ctx of.
type startInfo struct {
	RunID       string          `json:"runId"`
	ParentRunID string          `json:"parentRunId,omitempty"`
	Workflow    string          `json:"workflow"`
	Input       json.RawMessage `json:"input"`
	Auth        program.Auth    `json:"auth"`
}

func (m *machine) Settle(s program.Settlement) (program.Turn, error) {
	if s.Err != nil {
		return m.run("settle", s.Ref, false, encodeFailure(s.Err), s.AtMs)
	}
	return m.run("settle", s.Ref, true, jsonArg(s.Value), s.AtMs)
}

func (m *machine) Attempt(a program.Attempt) (program.Turn, error) {
	return m.run("attempt", a.Ref, a.Number, a.IdempotencyKey)
}

func (m *machine) Abort(ref int64, number int, reason *program.Failure) (program.Turn, error) {
	m.operations.cancelAttempt(int(ref), number)
	var json any
	if reason != nil {
		json = encodeFailure(reason)
	}
	return m.run("abort", ref, number, undefinedIfNil(json))
}

// Deliver handles what the machine posted: the end of a host operation, output of
// a running program, the answer to an effect.
func (m *machine) Deliver(event any) (program.Turn, error) {
	switch e := event.(type) {
	case operationEnd:
		if !m.operations.finish(e) {
			return program.Turn{}, nil
		}
		return m.run("operation", e.id, e.err == nil, e.payload())
	case programOutput:
		m.waitCommits()
		return program.Turn{Ops: []program.Op{program.Output{Ref: int64(e.ref), Number: e.number, Stream: e.stream, Text: e.text}}}, nil
	case effectAnswer:
		if e.err != nil {
			return m.run("effect", e.id, false, encodeFailure(e.err))
		}
		return m.run("effect", e.id, true, jsonArg(e.value))
	}
	return program.Turn{}, nil
}

// Close cancels host operations, waits for their goroutines and frees the VM.
func (m *machine) Close() {
	m.cancel()
	m.operations.stopAll()
	m.wg.Wait()
	if !m.vm.freed.Load() { // an abandoned VM may still be running
		m.vm.handler = nil
		m.vm.close()
	}
}

// run does one turn and returns what the workflow asked for in it.
func (m *machine) run(args ...any) (program.Turn, error) {
	if m.broken != nil {
		return program.Turn{}, m.broken
	}
	m.turn, m.outputs = program.Turn{}, 0
	unknown, err := m.vm.turn(args...)
	if err != nil {
		m.broken = m.module.failure(err)
		return program.Turn{}, m.broken
	}
	if unknown != 0 {
		m.broken = &program.Failure{Name: "Error", Code: program.CodeNonDeterministic, Message: "a settlement names a request that was never made"}
		return program.Turn{}, m.broken
	}
	turn := m.turn
	m.turn = program.Turn{}
	if m.outputs > 0 {
		m.waitCommits()
	}
	return turn, nil
}

func (m *machine) waitCommits() {
	if m.env.WaitCommits != nil {
		m.env.WaitCommits(m.ctx)
	}
}

func (m *machine) add(op program.Op) { m.turn.Ops = append(m.turn.Ops, op) }

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
