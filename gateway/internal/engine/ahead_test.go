package engine

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// hold keeps the committer busy until release is called.
func (h *house) hold() (release func()) {
	entered, gate := make(chan struct{}), make(chan struct{})
	h.st.Submit(func(*store.Tx) error { close(entered); <-gate; return nil }, nil)
	<-entered
	return func() { close(gate) }
}

// queues waits until a run has so many steps that no commit has begun with.
func (h *house) queues(id string, steps int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		h.e.mu.Lock()
		r := h.e.runs[id]
		for ahead := range h.e.ahead {
			if ahead.id == id {
				r = ahead
			}
		}
		h.e.mu.Unlock()
		if r == nil {
			return false
		}
		r.out.mu.Lock()
		defer r.out.mu.Unlock()
		return len(r.out.queued) == steps
	}, time.Minute, time.Millisecond)
}

// While the committer is busy with others, what a run does next joins the commit that it
// waits for: a run of one task takes two.
func TestRunOfABusyStoreTakesTwoCommits(t *testing.T) {
	b := newBlocker()
	h := newHouse(t, define("main", func(ctx wf) (any, error) { return nil, ctx.Task("one", b.run, nil) })).open()
	release := h.hold()
	before := h.st.Commits()
	launched := make(chan error, 1)
	go func() {
		_, err := h.e.Launch(bg, Launch{Workflow: "main", RunID: "r", fresh: true})
		launched <- err
	}()
	h.queues("r", 2) // pending and started
	require.Empty(t, b.started, "no body begins before the launch is stored")
	release()
	require.NoError(t, <-launched)
	<-b.started
	require.Equal(t, before+2, h.st.Commits(), "that of the holder and one of the run")
	release = h.hold()
	close(b.release)
	h.queues("r", 2) // the ends of task and run
	require.Equal(t, wire.RunRunning, h.run("r").Status)
	release()
	h.finished("r")
	release = h.hold() // a commit is counted a moment after it can be read
	require.Equal(t, before+4, h.st.Commits())
	release()
}

// A unit that fails behind that of a launch has the launch written again, which shows nowhere.
func TestLaunchIsWrittenAgain(t *testing.T) {
	h := newHouse(t, define("main", func(ctx wf) (any, error) {
		return nil, ctx.Task("one", func(workflow.Task) (any, error) { return 1, nil }, nil)
	})).open()
	release := h.hold()
	launched, failed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := h.e.Launch(bg, Launch{Workflow: "main", RunID: "r", fresh: true})
		launched <- err
	}()
	h.queues("r", 2)
	require.Eventually(t, func() bool { return h.st.Stats().Queue == 1 }, time.Minute, time.Millisecond, "the unit of the launch")
	runs := 0
	h.st.SubmitRepeatable(func(*store.Tx) error { runs++; return nil }, nil)
	h.st.SubmitRepeatable(func(tx *store.Tx) error {
		return errors.Join(tx.InsertAudit(&store.AuditEntry{Action: "void"}), errors.New("it fails"))
	}, func(err error) { failed <- err })
	release()
	require.ErrorContains(t, <-failed, "it fails")
	require.Equal(t, 2, runs, "with what was written before it")
	require.NoError(t, <-launched)
	h.finished("r")
	require.Len(t, h.log("r"), 5, "run and task begin, the task is pending, and both end")
	h.numbersAreWhole()
	require.NoError(t, h.st.View(bg, func(v *store.View) error {
		entries, err := v.Audit(store.AuditFilter{})
		require.Len(t, entries, 1, "that of the launch")
		return err
	}))
}

// A launch that is refused leaves nothing of the run that was begun meanwhile.
func TestRefusedLaunchNeverRan(t *testing.T) {
	var attempts atomic.Int64
	p := &script{start: requests(program.LogLine{Level: "info", Text: "begun"}, taskRequest(1, "a")),
		attempt: func(a program.Attempt) (program.Turn, error) { attempts.Add(1); return endsAtOnce(a) }}
	h := newHouse(t, Definition{Key: "main", Program: p})
	core, lines := observer.New(zapcore.InfoLevel)
	h.opts.Logger = zap.New(core)
	h.open()
	begun := func() int { return lines.FilterMessage("begun").Len() }
	h.launch("main", "r", nil)
	h.finished("r")
	require.Eventually(t, func() bool { return h.e.Stats().Live == 0 }, time.Minute, time.Millisecond, "else no other of this id begins ahead")
	require.Equal(t, 1, begun())
	release := h.hold()
	refused := make(chan error, 1)
	go func() {
		_, err := h.e.Launch(bg, Launch{Workflow: "main", RunID: "r", fresh: true, Input: []byte(`{"other":1}`)})
		refused <- err
	}()
	h.queues("r", 2)
	release()
	requireCode(t, <-refused, wire.CodeConflict, "Run r already exists with other parameters")
	require.Eventually(t, func() bool {
		s := h.e.Stats()
		h.e.mu.Lock()
		defer h.e.mu.Unlock()
		return s.Live == 0 && s.Slots == 0 && s.Attempts == 0 && len(h.e.ahead) == 0
	}, time.Minute, time.Millisecond)
	require.Equal(t, 1, begun())
	require.Equal(t, int64(1), attempts.Load())
	require.Equal(t, wire.RunFinished, h.run("r").Status)
}

// An id that the caller has chosen may be that of an earlier run: nothing begins for it
// before the database has been asked.
func TestChosenIDBeginsWhenItIsStored(t *testing.T) {
	var starts atomic.Int64
	h := newHouse(t, define("main", func(wf) (any, error) { starts.Add(1); return nil, nil })).open()
	h.launch("main", "r", nil)
	h.finished("r")
	require.EqualValues(t, 1, starts.Load())
	for _, input := range []string{`{}`, `{"other":1}`} {
		release := h.hold()
		answered := make(chan error, 1)
		go func() {
			_, err := h.e.Launch(bg, Launch{Workflow: "main", RunID: "r", Input: []byte(input)})
			answered <- err
		}()
		release()
		if err := <-answered; input == `{}` {
			require.NoError(t, err)
		} else {
			requireCode(t, err, wire.CodeConflict, "Run r already exists with other parameters")
		}
		require.EqualValues(t, 1, starts.Load())
	}
	launched, err := h.e.Launch(bg, Launch{Workflow: "main"})
	require.NoError(t, err)
	h.finished(launched.RunID)
	require.EqualValues(t, 2, starts.Load())
}
