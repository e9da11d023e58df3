package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// script is a program whose machine does what the test says.
type script struct {
	start   program.Turn
	settle  func(s program.Settlement) (program.Turn, error)
	attempt func(a program.Attempt) (program.Turn, error)
	abort   func(ref int64) (program.Turn, error)
	wait    func(ctx context.Context) error // in New
	made    func(env program.Env)
	newErr  error
}

type scriptMachine struct{ *script }

func (s *script) New(ctx context.Context, env program.Env) (program.Machine, error) {
	if s.made != nil {
		s.made(env)
	}
	if s.wait != nil {
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
	if s.newErr != nil {
		return nil, s.newErr
	}
	return scriptMachine{s}, nil
}
func (s *script) UsesVM() bool { return true }

func (m scriptMachine) Start(program.Input) (program.Turn, error) { return m.start, nil }
func (m scriptMachine) Settle(s program.Settlement) (program.Turn, error) {
	if m.settle == nil {
		return program.Turn{Done: &program.Outcome{Value: s.Value, Err: s.Err}}, nil
	}
	return m.settle(s)
}
func (m scriptMachine) Attempt(a program.Attempt) (program.Turn, error) { return m.attempt(a) }
func (m scriptMachine) Abort(ref int64, _ int, _ *program.Failure) (program.Turn, error) {
	if m.abort != nil {
		return m.abort(ref)
	}
	return program.Turn{}, nil
}
func (m scriptMachine) Deliver(any) (program.Turn, error) { return program.Turn{}, nil }
func (m scriptMachine) Close()                            {}

func taskRequest(ref int64, id string) program.Request {
	return program.Request{Ref: ref, Kind: program.KindTask, Key: program.Key{NodeID: id}, Task: &program.TaskOptions{}}
}

func requests(ops ...program.Op) program.Turn { return program.Turn{Ops: ops} }

func TestMachines(t *testing.T) {
	broken := &program.Failure{Code: program.CodeMemoryLimit, Message: "too big", Stack: "secret"}
	replies := make(chan json.RawMessage, 1)
	many := make([]program.Op, 10_001)
	for i := range many {
		many[i] = program.Request{Ref: int64(i + 1), Kind: program.KindSignal, Key: program.Key{NodeID: fmt.Sprint("n", i)}, Signal: &program.SignalOptions{Name: "s"}}
	}
	for _, c := range []struct {
		name string
		p    *script
		code string // of the failure; "": the run finishes
	}{
		{"stalled", &script{}, program.CodeStalled},
		{"stalled later", &script{start: requests(taskRequest(1, "a")), attempt: endsAtOnce,
			settle: func(program.Settlement) (program.Turn, error) { return program.Turn{}, nil }}, program.CodeStalled},
		{"new fails", &script{newErr: broken}, program.CodeMemoryLimit},
		{"settle fails", &script{start: requests(taskRequest(1, "a")), attempt: endsAtOnce,
			settle: func(program.Settlement) (program.Turn, error) { return program.Turn{}, broken }}, program.CodeMemoryLimit},
		{"attempt fails", &script{start: requests(taskRequest(1, "a")),
			attempt: func(program.Attempt) (program.Turn, error) { return program.Turn{}, broken }}, program.CodeMemoryLimit},
		{"bad node id", &script{start: requests(taskRequest(1, "a b"))}, codeBadRequest},
		{"no options", &script{start: requests(program.Request{Ref: 1, Kind: program.KindTask, Key: program.Key{NodeID: "a"}})}, codeBadRequest},
		{"too many nodes", &script{start: program.Turn{Ops: many}}, program.CodeTooManyNodes},
		{"done at once", &script{start: program.Turn{Done: &program.Outcome{Value: json.RawMessage("1")}}}, ""},
		{"attempt ends in its own turn", &script{start: requests(taskRequest(1, "a")), attempt: endsAtOnce}, ""},
		{"task effect", &script{start: requests(taskRequest(1, "a")), attempt: func(a program.Attempt) (program.Turn, error) {
			turn, err := endsAtOnce(a)
			turn.Ops = append([]program.Op{program.TaskEffect{Ref: a.Ref, Number: a.Number,
				Effect: program.EffectOptions{Op: "memory.get", Args: json.RawMessage(`{"key":"k"}`)},
				Reply:  func(v json.RawMessage, f *program.Failure) { replies <- v }}}, turn.Ops...)
			return turn, err
		}, settle: func(s program.Settlement) (program.Turn, error) {
			<-replies // came before the attempt's end was committed
			return program.Turn{Done: &program.Outcome{Value: s.Value}}, nil
		}}, ""},
		{"bad effect", &script{start: requests(program.Request{Ref: 1, Kind: program.KindEffect, Key: program.Key{NodeID: "$e:1"},
			Effect: &program.EffectOptions{Op: "teleport", Args: json.RawMessage(`{"key":"k"}`)}})}, program.CodeSessionError},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.code == program.CodeTooManyNodes && raceEnabled {
				t.Skip("10,000 nodes take too long under the race detector")
			}
			h := newHouse(t, Definition{Key: "main", Program: c.p}).open()
			h.launch("main", "r", nil)
			if c.code == "" {
				h.finished("r")
				return
			}
			row := h.status("r", wire.RunFailed)
			require.Equal(t, c.code, decodeFailure(row.Error).Code, "%s", row.Error)
			for _, l := range h.log("r") {
				require.NotContains(t, l, "secret")
			}
		})
	}
}

func endsAtOnce(a program.Attempt) (program.Turn, error) {
	return requests(program.AttemptEnd{Ref: a.Ref, Number: a.Number, Value: json.RawMessage("1")}), nil
}

func TestChildThatContinues(t *testing.T) {
	h := newHouse(t,
		define("main", func(ctx wf) (any, error) {
			var n int
			return &n, ctx.Child("sub", "child", map[string]int{"N": 0}, &n)
		}),
		define("child", func(ctx wf) (any, error) {
			var in struct{ N int }
			if err := ctx.Bind(&in); err != nil {
				return nil, err
			}
			if in.N < 3 {
				return nil, workflow.ContinueAsNew(map[string]int{"N": in.N + 1})
			}
			return in.N, ctx.Signal("end", nil)
		})).open()
	h.launch("main", "r", nil)
	var last *store.Run
	h.until("the chain waits", func(v *store.View) bool {
		row, err := lastOfChain(v, "r:child:sub:0")
		last = row
		return err == nil && row.Status == wire.RunWaitingEvent
	})
	h.idle()
	_, err := h.e.Signal(bg, Signal{RunID: last.RunID, Name: "end"})
	require.NoError(t, err)
	require.Equal(t, "3", h.finished("r"))

	// Cancelling the parent reaches the end of the chain.
	h.launch("main", "q", nil)
	h.until("the chain waits", func(v *store.View) bool {
		row, err := lastOfChain(v, "q:child:sub:0")
		last = row
		return err == nil && row.Status == wire.RunWaitingEvent
	})
	_, err = h.e.Cancel(bg, "q", Actor{})
	require.NoError(t, err)
	require.Equal(t, wire.RunCancelled, h.run(last.RunID).Status)
}

func TestConcurrencyLimit(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		branches := make([]func(ctx wf) error, 6)
		for i := range branches {
			branches[i] = func(ctx wf) error { return ctx.Task(fmt.Sprint("t", i), b.run, nil) }
		}
		return nil, ctx.Parallel(0, branches...)
	})).open()
	two := int64(2)
	_, err := h.e.Launch(bg, Launch{Workflow: "main", RunID: "r", Config: LaunchConfig{MaxConcurrency: &two}})
	require.NoError(t, err)
	<-b.started
	<-b.started
	require.EqualValues(t, 2, h.e.Stats().Attempts)
	close(b.release)
	h.finished("r")
}

func TestDepthLimit(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) { return nil, ctx.Child("s", "main", nil, nil) })).open()
	h.launch("main", "r", nil)
	h.status("r", wire.RunFailed)
	// Ids of 256 characters end a chain before 32 levels do; causes stay readable.
	var deepest *store.Run
	require.NoError(t, h.st.View(bg, func(v *store.View) error {
		runs, err := v.Runs(store.RunFilter{})
		for _, row := range runs {
			require.Less(t, len(row.Error), 5000)
			if deepest == nil || row.Depth > deepest.Depth {
				deepest = row
			}
		}
		return err
	}))
	require.Equal(t, 25, deepest.Depth)
	require.Contains(t, string(deepest.Error), "longer than 256 characters")
}

// An event's payload is valid JSON within its bound, whatever it holds.
func TestEventBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(300, 2000).Draw(t, "limit")
		ev := event{typ: wire.TypeNodeOutput, name: wire.EventTaskOutput, node: &program.Key{NodeID: "n"}, attempt: 1, fields: []field{
			text("output", rapid.StringN(0, 3000, 6000).Draw(t, "output")),
			errorField(&program.Failure{Message: rapid.StringN(0, 3000, 6000).Draw(t, "message"), Stack: "s"}),
			raw("any", json.RawMessage(`["`+string(make([]byte, 0))+`"]`)),
		}}
		encoded := ev.encode(&store.Run{RunID: "r"}, limit)
		require.True(t, json.Valid(encoded.Payload), "%s", encoded.Payload)
		require.LessOrEqual(t, len(encoded.Payload), limit)
	})
}
