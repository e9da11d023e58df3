package modeltest

import (
	"context"
	"flag"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// traveller rewinds and retries one run.
type traveller struct {
	*actions
	seen  map[int64]*frames.Cut // frames of the present
	tries int
}

// nudge plays the world once and reports the run's status.
func (tr *traveller) nudge() (status string) {
	var approvals []*store.Approval
	var waits []*store.Wait
	var signals []*store.Signal
	h := tr.h
	for id := range tr.family() {
		h.must(h.st.View(context.Background(), func(v *store.View) (err error) {
			if approvals, err = v.Approvals(store.ApprovalFilter{RunID: id}); err != nil {
				return err
			}
			if waits, err = v.WaitsOf(id); err != nil {
				return err
			}
			signals, err = v.UnconsumedSignals(id)
			return err
		}))
		for _, a := range approvals {
			_ = h.e.Decide(context.Background(), engine.Decision{RunID: id, NodeID: a.NodeID, Iteration: a.Iteration, Approved: true})
		}
		for _, w := range waits {
			if len(signals) == 0 {
				_, _ = h.e.Signal(context.Background(), engine.Signal{RunID: id, Name: w.Name})
			}
		}
	}
	h.moves.Advance(2 * time.Second)
	time.Sleep(200 * time.Microsecond) // for the run's goroutine, on machines with few cores
	h.must(h.st.View(context.Background(), func(v *store.View) error {
		row, err := v.Run("r1")
		if err == nil {
			status = row.Status
		}
		return err
	}))
	return status
}

// family is the run with its child runs.
func (tr *traveller) family() map[string]bool {
	all := map[string]bool{"r1": true}
	tr.h.must(tr.h.st.View(context.Background(), func(v *store.View) error {
		for again := true; again; {
			again = false
			for id := range all {
				children, err := v.Children(id, 100)
				if err != nil {
					return err
				}
				for _, c := range children {
					again = again || !all[c.RunID]
					all[c.RunID] = true
				}
			}
		}
		return nil
	}))
	return all
}

// finish plays the world until the run has ended.
func (tr *traveller) finish() string {
	for deadline := time.Now().Add(patience); ; {
		status := tr.nudge()
		if wire.RunTerminal(status) {
			return status
		}
		if status == wire.RunPaused || time.Now().After(deadline) {
			lines, _ := enginetest.Lines(tr.h.st, "r1")
			text := ""
			for _, l := range lines {
				text += "\n" + l
			}
			tr.h.t.Fatalf("the run is %s%s", status, text)
		}
	}
}

func (tr *traveller) cut(n int64) (cut *frames.Cut) {
	tr.h.must(tr.h.st.View(context.Background(), func(v *store.View) (err error) {
		if n == 0 {
			if n, err = frames.Latest(v, "r1"); err != nil {
				return err
			}
		}
		cut, err = frames.CutAt(v, "r1", n)
		return err
	}))
	return cut
}

// look notes a frame, and holds every frame of the present against what it was.
func (tr *traveller) look(note int64) {
	if note > 0 && tr.seen[note] == nil {
		tr.seen[note] = tr.cut(note)
	}
	for n, was := range tr.seen {
		now := tr.cut(n)
		now.Latest = was.Latest
		if !reflect.DeepEqual(was, now) {
			tr.h.t.Fatalf("frame %d was %+v and is %+v", n, was, now)
		}
	}
}

func (tr *traveller) rewind(t *rapid.T) {
	n := rapid.Int64Range(1, tr.cut(0).Latest).Draw(t, "frame")
	tr.look(n)
	tr.h.must(tr.insist(t, func(ctx context.Context) error {
		tr.tries++
		_, err := tr.h.e.Rewind(ctx, engine.Rewind{RunID: "r1", FrameNo: n, By: engine.Actor{UserID: fmt.Sprint(tr.tries)}})
		return err
	}))
	for m := range tr.seen {
		if m > n {
			delete(tr.seen, m)
		}
	}
	tr.look(0)
}

func (tr *traveller) retryAny(t *rapid.T) {
	tr.finish()
	nodes := tr.cut(0).Nodes
	node := rapid.SampledFrom(nodes).Draw(t, "node")
	keep := rapid.Bool().Draw(t, "keep dependents")
	tr.look(rapid.Int64Range(1, tr.cut(0).Latest).Draw(t, "noted"))
	_, err := tr.h.e.RetryTask(context.Background(), engine.RetryTask{RunID: "r1", NodeID: node.Key.NodeID, KeepDependents: keep})
	if err != nil && !isCode(err, wire.CodeInvalidRequest) { // has not run
		tr.h.must(err)
	}
	tr.look(0)
}

// TestRewindGoesBackToItsFrame rewinds runs of random plans to random frames while they
// work, wait or have ended, between retries and through crashes. Reading a frame of the
// present always gives what it was, and the run always comes to the same end.
func TestRewindGoesBackToItsFrame(t *testing.T) {
	// Each case is many executions of a run: a fifth of the cases of the others will do.
	checks := flag.Lookup("rapid.checks").Value
	all, err := strconv.Atoi(checks.String())
	require.NoError(t, err)
	require.NoError(t, checks.Set(strconv.Itoa(max(1, all/5))))
	defer func() { require.NoError(t, checks.Set(strconv.Itoa(all))) }()
	rapid.Check(t, func(t *rapid.T) {
		h := newHouse(t).open()
		defer h.close()
		tr := &traveller{actions: &actions{h: h}, seen: map[int64]*frames.Cut{}}
		h.must(h.launch(context.Background(), "r1", plans.Draw(t, "plan")))
		want := tr.finish()
		for range rapid.IntRange(1, 4).Draw(t, "journeys") {
			for range rapid.IntRange(0, 3).Draw(t, "pace") {
				tr.nudge()
			}
			if rapid.IntRange(0, 3).Draw(t, "retry") == 0 {
				tr.retryAny(t)
				continue
			}
			tr.rewind(t)
		}
		if got := tr.finish(); got != want {
			t.Fatalf("the run is %s at the end, and was %s", got, want)
		}
		tr.look(0)
		if err := enginetest.CheckFrames(h.st, "r1"); err != nil {
			lines, _ := enginetest.Lines(h.st, "r1")
			t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
		}
	})
}
