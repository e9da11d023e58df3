package jsmod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testHost(t testing.TB, o HostOptions) *Host {
	t.Helper()
	h, err := NewHost(o)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

// writeModule writes files below a fresh folder and returns the path of the first.
func writeModule(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, filepath.FromSlash(files[i]))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(files[i+1]), 0o644))
	}
	return filepath.Join(dir, files[0])
}

func tryLoad(t testing.TB, h *Host, files ...string) (*Module, error) {
	t.Helper()
	b, err := h.Build(context.Background(), writeModule(t, files...), BuildOptions{})
	if err != nil {
		return nil, err
	}
	return h.Load(context.Background(), *b)
}

func load(t testing.TB, h *Host, files ...string) *Module {
	t.Helper()
	m, err := tryLoad(t, h, files...)
	require.NoError(t, err)
	return m
}

// body wraps statements into a module with one workflow named w.
func body(code string) string {
	return "export function register(gateway) { gateway.register('w', async (ctx) => {\n" + code + "\n}); }\n"
}

// run loads a module, executes workflow w as the engine would and returns the driver.
func runModule(t testing.TB, h *Host, code string, options ...func(*driver)) *driver {
	t.Helper()
	m := load(t, h, "w.mjs", body(code))
	d := newDriver(t, m, "w", options...)
	d.run()
	return d
}

// driver plays the engine: it settles what a machine asks for, in order.
type driver struct {
	t       testing.TB
	machine program.Machine
	events  chan any
	input   program.Input
	nowMs   int64

	// answer overrides how a request is settled; handled=false leaves it to the driver.
	answer func(r *program.Request) (value any, err *program.Failure, handled bool)
	traced func(attempt int) (traceparent string) // nil: not traced

	requests []program.Request
	byRef    map[int64]*program.Request
	open     map[int64]bool
	queue    []func() (program.Turn, error)
	ops      []program.Op
	logs     []string
	done     *program.Outcome
	err      error
	attempts map[int64]int
	settled  []program.Settlement
	memory   map[string]json.RawMessage
	running  int
}

func newDriver(t testing.TB, m *Module, key string, options ...func(*driver)) *driver {
	t.Helper()
	d := &driver{
		t: t, events: make(chan any, 10000), byRef: map[int64]*program.Request{}, open: map[int64]bool{}, attempts: map[int64]int{},
		memory: map[string]json.RawMessage{}, nowMs: 1_700_000_000_000,
	}
	d.input = program.Input{RunID: "run-1", Workflow: key, Input: json.RawMessage(`{"id":"x1"}`), Seed: 42, StartedAtMs: d.nowMs,
		Auth: program.Auth{TriggeredBy: "ada", Role: "user", Scopes: []string{"run:write"}, CreatedAt: "2024-01-01T00:00:00Z"}}
	for _, o := range options {
		o(d)
	}
	var p program.Program
	for _, w := range m.Workflows {
		if w.Key == key {
			p = w.Program
		}
	}
	require.NotNil(t, p, "no workflow %s", key)
	machine, err := p.New(context.Background(), program.Env{Post: func(e any) { d.events <- e }, Logger: zap.NewNop()})
	require.NoError(t, err)
	d.machine = machine
	t.Cleanup(machine.Close)
	return d
}

func (d *driver) run() {
	d.t.Helper()
	d.take(d.machine.Start(d.input))
	d.loop()
}

// loop is run without the start.
func (d *driver) loop() {
	d.t.Helper()
	timeout := time.After(5 * time.Minute)
	for d.done == nil && d.err == nil {
		if len(d.queue) > 0 {
			next := d.queue[0]
			d.queue = d.queue[1:]
			d.take(next())
			continue
		}
		select {
		case e := <-d.events:
			d.take(d.machine.Deliver(e))
			continue
		default:
		}
		if d.running == 0 {
			return // stalled
		}
		select {
		case e := <-d.events:
			d.take(d.machine.Deliver(e))
		case <-timeout:
			d.t.Fatal("the run does not end")
		}
	}
}

func (d *driver) take(turn program.Turn, err error) {
	if err != nil {
		d.err = err
		return
	}
	for _, op := range turn.Ops {
		d.ops = append(d.ops, op)
		switch o := op.(type) {
		case program.Request:
			d.request(o)
		case program.AttemptEnd:
			d.ended(o)
		case program.CancelBlock:
			d.cancelBlock(o.BlockID)
		case program.LogLine:
			d.logs = append(d.logs, o.Level+": "+o.Text)
		case program.TaskEffect:
			o.Reply(d.effect(o.Effect), nil)
		}
	}
	if turn.Done != nil {
		d.done = turn.Done
	}
}

func (d *driver) request(r program.Request) {
	d.requests = append(d.requests, r)
	d.byRef[r.Ref] = &r
	d.open[r.Ref] = true
	if d.answer != nil {
		if value, err, handled := d.answer(&r); handled {
			d.settle(r.Ref, value, err)
			return
		}
	}
	switch r.Kind {
	case program.KindTask:
		if r.Task.Skip {
			d.settle(r.Ref, nil, nil)
			return
		}
		d.attempt(r.Ref)
	case program.KindEffect:
		d.settle(r.Ref, d.effect(*r.Effect), nil)
	case program.KindApproval:
		d.settle(r.Ref, map[string]any{"approved": true, "decidedBy": "bob"}, nil)
	case program.KindSignal:
		d.settle(r.Ref, map[string]any{"signal": r.Signal.Name}, nil)
	case program.KindTimer:
		d.settle(r.Ref, nil, nil)
	case program.KindRun:
		d.settle(r.Ref, r.Run, nil)
	}
}

func (d *driver) effect(e program.EffectOptions) json.RawMessage {
	var args struct {
		Namespace, Key string
		Value          json.RawMessage
	}
	_ = json.Unmarshal(e.Args, &args)
	key := args.Namespace + "/" + args.Key
	switch e.Op {
	case "memory.get":
		return d.memory[key]
	case "memory.set":
		d.memory[key] = args.Value
	case "memory.delete":
		delete(d.memory, key)
	}
	return nil
}

func (d *driver) attempt(ref int64) {
	d.attempts[ref]++
	n := d.attempts[ref]
	d.running++
	r := d.byRef[ref]
	d.queue = append(d.queue, func() (program.Turn, error) {
		a := program.Attempt{Ref: ref, Number: n, IdempotencyKey: fmt.Sprintf("run-1/%s/%d", r.Key.NodeID, r.Key.Iteration)}
		if d.traced != nil {
			a.Traceparent = d.traced(n)
		}
		return d.machine.Attempt(a)
	})
}

func (d *driver) ended(e program.AttemptEnd) {
	d.running--
	if !d.open[e.Ref] {
		return
	}
	if e.Err != nil && !e.Err.NoRetry && d.attempts[e.Ref] <= d.byRef[e.Ref].Task.Retries {
		d.attempt(e.Ref)
		return
	}
	d.settleRaw(e.Ref, e.Value, e.Err)
}

func (d *driver) cancelBlock(id string) {
	for ref := int64(1); ref <= int64(len(d.byRef)); ref++ {
		for _, b := range d.byRef[ref].Blocks {
			if b.ID == id && d.open[ref] {
				d.settle(ref, nil, &program.Failure{Message: "cancelled", Code: program.CodeCancelled})
			}
		}
	}
}

func (d *driver) settle(ref int64, value any, err *program.Failure) {
	var raw json.RawMessage
	switch v := value.(type) {
	case nil:
	case json.RawMessage:
		raw = v
	default:
		b, e := json.Marshal(v)
		require.NoError(d.t, e)
		raw = b
	}
	d.settleRaw(ref, raw, err)
}

func (d *driver) settleRaw(ref int64, value json.RawMessage, err *program.Failure) {
	delete(d.open, ref)
	d.nowMs += 1000
	s := program.Settlement{Ref: ref, Value: value, Err: err, AtMs: d.nowMs}
	d.queue = append(d.queue, func() (program.Turn, error) {
		d.settled = append(d.settled, s)
		return d.machine.Settle(s)
	})
}

// result decodes the run's value.
func (d *driver) result() any {
	d.t.Helper()
	require.NoError(d.t, d.err)
	require.NotNil(d.t, d.done, "the run stalled; logs: %v", d.logs)
	if d.done.Err != nil {
		d.t.Fatalf("run failed: %s: %s\n%s", d.done.Err.Name, d.done.Err.Message, d.done.Err.Stack)
	}
	if d.done.Value == nil {
		return nil
	}
	var v any
	require.NoError(d.t, json.Unmarshal(d.done.Value, &v))
	return v
}

// failure returns how the run failed.
// failed is how the run failed, if it did.
func (d *driver) failed() (f *program.Failure) {
	if d.err == nil && d.done != nil {
		return d.done.Err
	}
	_ = errors.As(d.err, &f)
	return f
}

func (d *driver) failure() *program.Failure {
	d.t.Helper()
	if d.err != nil {
		f, ok := d.err.(*program.Failure)
		require.True(d.t, ok, "%v", d.err)
		return f
	}
	require.NotNil(d.t, d.done, "the run stalled; logs: %v", d.logs)
	require.NotNil(d.t, d.done.Err, "the run succeeded: %s", d.done.Value)
	return d.done.Err
}
