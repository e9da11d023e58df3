package gomachine

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type wf = workflow.Context

// drive is a machine with its posted events.
type drive struct {
	program.Machine
	t     *testing.T
	posts chan any
}

func start(t *testing.T, fn workflow.Func) (*drive, program.Turn) {
	d := &drive{t: t, posts: make(chan any, 100)}
	m, err := New(fn).New(context.Background(), program.Env{Post: func(ev any) { d.posts <- ev }})
	require.NoError(t, err)
	d.Machine = m
	t.Cleanup(m.Close)
	turn, err := m.Start(program.Input{RunID: "r", Input: json.RawMessage("{}"), Seed: 7, StartedAtMs: 1000})
	require.NoError(t, err)
	return d, turn
}

func (d *drive) settle(s program.Settlement) program.Turn {
	turn, err := d.Settle(s)
	require.NoError(d.t, err)
	return turn
}

func TestTurns(t *testing.T) {
	d, turn := start(t, func(ctx wf) (any, error) {
		start := ctx.Now().UnixMilli()
		if err := ctx.Sleep("nap", 0); err != nil {
			return nil, err
		}
		return []int64{start, ctx.Now().UnixMilli(), ctx.Rand().Int64()}, nil
	})
	require.Len(t, turn.Ops, 1)
	req := turn.Ops[0].(program.Request)
	require.Equal(t, program.KindTimer, req.Kind)
	turn = d.settle(program.Settlement{Ref: req.Ref, AtMs: 2000})
	require.NotNil(t, turn.Done)
	require.Nil(t, turn.Done.Err)
	var got []int64
	require.NoError(t, json.Unmarshal(turn.Done.Value, &got))
	require.Equal(t, []int64{1000, 2000}, got[:2])
	_, err := d.Settle(program.Settlement{Ref: 99})
	require.Error(t, err)
}

func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		fn    workflow.Func
		check func(o *program.Outcome)
	}{
		"nil":      {func(wf) (any, error) { return nil, nil }, func(o *program.Outcome) { require.Equal(t, &program.Outcome{}, o) }},
		"error":    {func(wf) (any, error) { return nil, boom }, func(o *program.Outcome) { require.Equal(t, "boom", o.Err.Message) }},
		"panic":    {func(wf) (any, error) { panic(boom) }, func(o *program.Outcome) { require.Equal(t, "Panic", o.Err.Name); require.NotEmpty(t, o.Err.Stack) }},
		"encoding": {func(wf) (any, error) { return make(chan int), nil }, func(o *program.Outcome) { require.Contains(t, o.Err.Message, "result of the workflow") }},
		"continue": {func(wf) (any, error) { return nil, workflow.ContinueAsNew(1) }, func(o *program.Outcome) { require.Equal(t, "1", string(o.Continue)) }},
		"cannot continue": {func(wf) (any, error) { return nil, workflow.ContinueAsNew(make(chan int)) },
			func(o *program.Outcome) { require.Contains(t, o.Err.Message, "ContinueAsNew") }},
	} {
		t.Run(name, func(t *testing.T) {
			_, turn := start(t, c.fn)
			require.NotNil(t, turn.Done)
			c.check(turn.Done)
		})
	}
}

func TestSentinels(t *testing.T) {
	for code, sentinel := range map[string]error{
		program.CodeCancelled: workflow.ErrCancelled, program.CodeApprovalDenied: workflow.ErrDenied,
		program.CodeSignalTimeout: workflow.ErrTimeout, program.CodeTaskTimeout: workflow.ErrTimeout,
	} {
		var got error
		d, turn := start(t, func(ctx wf) (any, error) {
			got = ctx.Signal("s", nil)
			return nil, got
		})
		failure := &program.Failure{Message: "no", Code: code, Details: map[string]any{"key": "s::0"}}
		turn = d.settle(program.Settlement{Ref: turn.Ops[0].(program.Request).Ref, Err: failure})
		require.ErrorIs(t, got, sentinel)
		require.Equal(t, failure, turn.Done.Err)
		require.NotSame(t, failure, turn.Done.Err)
	}
}

func TestCloseUnwinds(t *testing.T) {
	unwound := make(chan string, 10)
	d, turn := start(t, func(ctx wf) (any, error) {
		defer func() { unwound <- "outer" }()
		return nil, ctx.Parallel(0,
			func(ctx wf) error {
				// Neither recover nor another wait keeps an abandoned coroutine alive.
				defer func() { _ = recover(); unwound <- "a" }()
				defer func() { _ = ctx.Sleep("again", 1) }()
				return ctx.Sleep("a", 1)
			},
			func(ctx wf) error {
				defer func() { unwound <- "b" }()
				return ctx.Loop("l", 0, func(ctx wf, i int) (bool, error) { return true, ctx.Signal("s", nil) })
			})
	})
	require.Len(t, turn.Ops, 2)
	d.Close()
	d.Close()
	require.Len(t, unwound, 3)
}

func TestWrongGoroutine(t *testing.T) {
	var leaked wf
	d, turn := start(t, func(ctx wf) (any, error) {
		leaked = ctx
		return nil, ctx.Sleep("s", 1)
	})
	require.PanicsWithValue(t, "workflow: Context.Now must be called by the workflow function or a function given to Parallel or Loop, "+
		"not from inside a task or from another goroutine", func() { leaked.Now() })
	require.NotNil(t, d.settle(program.Settlement{Ref: turn.Ops[0].(program.Request).Ref}).Done)
}

func TestAttempts(t *testing.T) {
	stubborn := make(chan struct{})
	d, turn := start(t, func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(t workflow.Task) (any, error) {
			switch t.Attempt() {
			case 1:
				t.Log("hello")
				return t.IdempotencyKey(), nil
			case 2:
				<-t.Done()
				return nil, context.Cause(t)
			case 3:
				panic("ouch")
			}
			<-stubborn // ignores its context
			t.Log("nobody hears this")
			return nil, nil
		}, nil)
	})
	ref := turn.Ops[0].(program.Request).Ref
	attempt := func(n int) {
		_, err := d.Attempt(program.Attempt{Ref: ref, Number: n, IdempotencyKey: "r/t/0"})
		require.NoError(t, err)
	}
	attempt(1)
	turn, err := d.Deliver(<-d.posts)
	require.NoError(t, err)
	require.Equal(t, []program.Op{program.Output{Ref: ref, Number: 1, Stream: "stdout", Text: "hello"}}, turn.Ops)
	turn, err = d.Deliver(<-d.posts)
	require.NoError(t, err)
	require.Equal(t, []program.Op{program.AttemptEnd{Ref: ref, Number: 1, Value: json.RawMessage(`"r/t/0"`)}}, turn.Ops)
	attempt(2)
	_, err = d.Abort(ref, 2, &program.Failure{Code: program.CodeTaskTimeout, Message: "late"})
	require.NoError(t, err)
	end := (<-d.posts).(program.AttemptEnd)
	require.Equal(t, "late", end.Err.Message)
	attempt(3)
	end = (<-d.posts).(program.AttemptEnd)
	require.Equal(t, "Panic", end.Err.Name)
	attempt(4)
	d.Close() // does not wait for it
	close(stubborn)
	_, err = d.Attempt(program.Attempt{Ref: 77})
	require.Error(t, err)
}

// What a task calls with its context belongs to the attempt's span.
func TestAttemptsCarryTheirSpan(t *testing.T) {
	d, turn := start(t, func(ctx wf) (any, error) {
		return nil, ctx.Task("t", func(t workflow.Task) (any, error) { return tracing.Traceparent(t), nil }, nil)
	})
	ref := turn.Ops[0].(program.Request).Ref
	for n, parent := range []string{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"} {
		_, err := d.Attempt(program.Attempt{Ref: ref, Number: n + 1, Traceparent: parent})
		require.NoError(t, err)
		require.JSONEq(t, `"`+parent+`"`, string((<-d.posts).(program.AttemptEnd).Value))
	}
}

func TestParallelCancels(t *testing.T) {
	var errs [2]error
	d, turn := start(t, func(ctx wf) (any, error) {
		err := ctx.Parallel(2,
			func(ctx wf) error { return ctx.Sleep("first", 1) },
			func(ctx wf) error {
				errs[0] = ctx.Signal("second", nil)
				errs[1] = ctx.Sleep("more", 1) // its block is cancelled: not even asked for
				return errs[0]
			},
			func(ctx wf) error { t.Error("never started"); return nil })
		return nil, err
	})
	require.Len(t, turn.Ops, 2)
	second := turn.Ops[1].(program.Request)
	require.Equal(t, "parallel", second.Blocks[0].Kind)
	turn = d.settle(program.Settlement{Ref: turn.Ops[0].(program.Request).Ref, Err: &program.Failure{Message: "boom"}})
	require.Equal(t, []program.Op{program.CancelBlock{BlockID: second.Blocks[0].ID}}, turn.Ops)
	turn = d.settle(program.Settlement{Ref: second.Ref, Err: &program.Failure{Code: program.CodeCancelled}})
	require.Equal(t, "boom", turn.Done.Err.Message)
	require.ErrorIs(t, errs[0], workflow.ErrCancelled)
	require.ErrorIs(t, errs[1], workflow.ErrCancelled)
}

func TestNestedLoopsNeverRepeatKeys(t *testing.T) {
	seen := make(map[program.Key]bool)
	d, turn := start(t, func(ctx wf) (any, error) {
		return nil, ctx.Loop("outer", 3, func(ctx wf, i int) (bool, error) {
			if err := ctx.Sleep("o", 1); err != nil {
				return false, err
			}
			return true, ctx.Loop("inner", 2, func(ctx wf, i int) (bool, error) { return true, ctx.Sleep("i", 1) })
		})
	})
	for turn.Done == nil {
		req := turn.Ops[0].(program.Request)
		require.False(t, seen[req.Key], "%v", req.Key)
		seen[req.Key] = true
		turn = d.settle(program.Settlement{Ref: req.Ref})
	}
	require.Len(t, seen, 9)
}

// A task that says more than the engine takes is held back.
func TestUndeliveredIsBounded(t *testing.T) {
	const all = 3000
	posts := make(chan any, 2*all)
	m, err := New(workflow.Func(func(ctx wf) (any, error) {
		return nil, ctx.Task("a", func(t workflow.Task) (any, error) {
			for range all / 3 {
				t.Heartbeat(1)
				t.Usage(workflow.Usage{})
				t.Log("x")
			}
			return nil, nil
		}, nil)
	})).New(context.Background(), program.Env{Post: func(ev any) { posts <- ev }})
	require.NoError(t, err)
	defer m.Close()
	turn, err := m.Start(program.Input{Input: json.RawMessage("{}")})
	require.NoError(t, err)
	_, err = m.Attempt(program.Attempt{Ref: turn.Ops[0].(program.Request).Ref, Number: 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(posts) == maxUndelivered }, time.Minute, time.Millisecond)
	for n := range all + 1 {
		require.LessOrEqual(t, len(posts), maxUndelivered+1)
		turn, err := m.Deliver(<-posts)
		require.NoError(t, err)
		_, ended := turn.Ops[0].(program.AttemptEnd)
		require.Equal(t, n == all, ended)
	}
}
