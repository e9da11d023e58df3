package scripttest

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// mortal lists the workflows that are killed after each of their commits, with what
// they return beside the order of settlements. Members that the order may change are
// left out.
var mortal = map[string]string{
	"race":      `{}`,
	"counters":  `{"shared":9}`,
	"loops":     `{"enough":true}`,
	"timers":    `{"rand":36}`,
	"approvals": `{"approved":true}`,
	"signals":   `{"late":"SIGNAL_TIMEOUT","stamped":7}`,
	"children":  `{"good":2,"bad":"CHILD_RUN_FAILED"}`,
	"retries":   `{}`,
	"effects":   `{"n":3}`,
}

// TestKillAfterEveryCommit kills engine and store after each commit of a run and lets
// new ones carry on, which are killed once more a little later.
func TestKillAfterEveryCommit(t *testing.T) {
	defs := module(t, "crash.mjs")
	keys := make([]string, 0, len(mortal))
	for key := range mortal {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	step := 1
	if testing.Short() {
		step = 5
	}
	for _, key := range keys {
		t.Run(key, func(t *testing.T) {
			for limit := 1; ; limit += step {
				h := newHouse(t, defs)
				if h.surviveKill(key, limit) {
					t.Logf("%d commits", limit-1)
					require.Greater(t, limit, 5) // how many there are depends on what shares one
					return
				}
			}
		})
	}
}

// surviveKill launches a workflow that dies with a commit and checks that it comes to
// its end all the same. It reports whether the run was over before.
func (h *house) surviveKill(key string, limit int) (over bool) {
	h.open()
	defer h.close()
	h.fault.DieAfter(limit)
	h.tryLaunch(key)
	if h.play() && !h.fault.Dead() {
		h.ends(key, past{})
		return true
	}
	h.crash()
	before := h.remember()
	h.open()
	h.fault.DieAfter(1 + limit%4)
	h.tryLaunch(key)
	if h.play(); h.fault.Dead() {
		h.crash()
		between := h.remember()
		between.includes(h.t, before)
		before = between
		h.open()
		h.tryLaunch(key)
		h.play()
	}
	h.ends(key, before)
	return false
}

// tryLaunch launches the run unless the store dies first; one that exists is what an
// identical launch is answered with.
func (h *house) tryLaunch(key string) {
	h.t.Helper()
	_, err := h.e.Launch(h.fault.Life(), engine.Launch{Workflow: key, RunID: "r"})
	if !h.fault.Dead() {
		require.NoError(h.t, err)
	}
}

// past is what the database and the world knew at a kill.
type past struct {
	settled map[string][]string // node#iteration in order of settlement, by run
	logs    map[string][]string
	done    map[string]int // visits of the bodies of finished tasks
}

// remember opens the store of a house that was killed and looks.
func (h *house) remember() past {
	h.t.Helper()
	st, err := store.Open(bg, store.Options{Path: h.path, Now: h.clock.Now})
	require.NoError(h.t, err)
	h.st = st
	defer func() { require.NoError(h.t, st.Close()) }()
	return h.look()
}

func (h *house) look() past {
	h.t.Helper()
	p := past{settled: map[string][]string{}, logs: map[string][]string{}, done: map[string]int{}}
	visits := outside.counts()
	for _, id := range h.runs() {
		lines, err := enginetest.Lines(h.st, id)
		require.NoError(h.t, err)
		p.logs[id] = lines
		var nodes []*store.Node
		require.NoError(h.t, h.st.View(bg, func(v *store.View) (err error) {
			nodes, err = v.Nodes(id)
			return err
		}))
		sort.Slice(nodes, func(i, j int) bool { return nodes[i].Position < nodes[j].Position })
		for _, n := range nodes {
			if n.Position > 0 && program.Kind(n.Kind) != program.KindEffect {
				p.settled[id] = append(p.settled[id], fmt.Sprintf("%s#%d", n.NodeID, n.Iteration))
			}
			if program.Kind(n.Kind) == program.KindTask && n.State == wire.NodeFinished {
				body := fmt.Sprintf("%s/%s/%d", id, n.NodeID, n.Iteration)
				require.Positive(h.t, visits[body], "%s finished without having run", body)
				p.done[body] = visits[body]
			}
		}
	}
	return p
}

// runs lists the run and its children, as far as they exist.
func (h *house) runs() (ids []string) {
	h.t.Helper()
	require.NoError(h.t, h.st.View(bg, func(v *store.View) error {
		rows, err := v.Runs(store.RunFilter{})
		for _, row := range rows {
			ids = append(ids, row.RunID)
		}
		return err
	}))
	return ids
}

// includes checks that nothing of an earlier past was lost, changed or done again.
func (p past) includes(t testing.TB, earlier past) {
	t.Helper()
	for id, lines := range earlier.logs {
		require.GreaterOrEqual(t, len(p.logs[id]), len(lines), "log of %s", id)
		require.Equal(t, lines, p.logs[id][:len(lines)], "log of %s", id)
	}
	for id, names := range earlier.settled {
		require.GreaterOrEqual(t, len(p.settled[id]), len(names), "journal of %s", id)
		require.Equal(t, names, p.settled[id][:len(names)], "journal of %s", id)
	}
	for body, visits := range earlier.done {
		require.Equal(t, visits, p.done[body], "the finished task %s ran again", body)
	}
}

// ends checks the run's end against what was known at the last kill.
func (h *house) ends(key string, before past) {
	h.t.Helper()
	row := h.run("r")
	require.Equal(h.t, wire.RunFinished, row.Status, "%s", row.Error)
	after := h.look()
	after.includes(h.t, before)
	for id := range after.logs {
		h.until(id+" ends", ended(id))
		require.NoError(h.t, enginetest.CheckNumbers(h.st, id))
		require.NoError(h.t, enginetest.CheckFrames(h.st, id))
	}
	var out struct{ Trace []string }
	require.NoError(h.t, json.Unmarshal(row.Output, &out))
	// What settled while the function returned was not delivered any more.
	journal := after.settled["r"]
	require.LessOrEqual(h.t, len(out.Trace), len(journal))
	require.Equal(h.t, journal[:len(out.Trace)], out.Trace)
	var want, got map[string]any
	require.NoError(h.t, json.Unmarshal([]byte(mortal[key]), &want))
	require.NoError(h.t, json.Unmarshal(row.Output, &got))
	for name, value := range want {
		require.Equal(h.t, value, got[name], name)
	}
}

// play is the world: it decides, signals and lets time pass until the run is over or
// the store dies. It reports whether the run is over.
func (h *house) play() bool {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	for !h.fault.Dead() {
		var row *store.Run
		_ = h.st.View(bg, func(v *store.View) (err error) { row, err = v.Run("r"); return err })
		if row != nil && (wire.RunTerminal(row.Status) || row.Status == wire.RunPaused) {
			return true
		}
		h.nudge()
		select {
		case <-h.notify:
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			lines, _ := enginetest.Lines(h.st, "r")
			h.t.Fatalf("stuck:\n%s", strings.Join(lines, "\n"))
		}
	}
	return false
}

// nudge decides and signals whatever is waited for. Safe to repeat.
func (h *house) nudge() {
	var approvals []*store.Approval
	var waits []*store.Wait
	if err := h.st.View(bg, func(v *store.View) (err error) {
		if approvals, err = v.Approvals(store.ApprovalFilter{RunID: "r"}); err != nil {
			return err
		}
		waits, err = v.WaitsOf("r")
		return err
	}); err != nil {
		return // not launched yet
	}
	ctx := h.fault.Life()
	for _, a := range approvals {
		_ = h.e.Decide(ctx, engine.Decision{RunID: "r", NodeID: a.NodeID, Iteration: a.Iteration, Approved: true, By: engine.Actor{UserID: "alice"}})
	}
	for _, w := range waits {
		if w.Name != "never" {
			_, _ = h.e.Signal(ctx, engine.Signal{RunID: "r", Name: w.Name, CorrelationID: w.CorrelationID, Payload: json.RawMessage(`{"n":7}`)})
		}
	}
	h.clock.Advance(50 * time.Millisecond)
}
