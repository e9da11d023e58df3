package frames

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

// house is a database with runs whose logs are made up.
type house struct{ st *store.Store }

func newHouse(t testing.TB) *house {
	st, err := store.Open(bg, store.Options{Path: filepath.Join(t.TempDir(), "gateway.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return &house{st: st}
}

func (h *house) launch(t require.TestingT, runID string) {
	require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error {
		return tx.InsertRun(&store.Run{RunID: runID, WorkflowKey: "main", WorkflowName: "main", Status: wire.RunRunning, CreatedAtMs: 1,
			Input: json.RawMessage("{}"), Config: json.RawMessage("{}"), CreatedBy: json.RawMessage("{}")})
	}))
}

// append writes events to the log of a run, in one transaction.
func (h *house) append(t require.TestingT, runID string, events ...*store.Event) {
	require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error {
		for _, ev := range events {
			fresh := *ev
			if err := tx.Append(runID, &fresh); err != nil {
				return err
			}
		}
		return nil
	}))
}

// jump is the event of a rewind.
func (r *run) jump(from, to int64) {
	r.add(wire.TypeTimeTravelJumped, map[string]any{"runId": "r", "fromFrameNo": from, "toFrameNo": to}, nil)
}

// After any rewinds each frame shows what it showed when it was the newest, whether it
// is read from checkpoints or anew.
func TestFramesOfAHistoryWithRewinds(t *testing.T) {
	h := newHouse(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		runID := "r" + string(rune('a'+n%26)) + rapid.StringMatching(`[a-z]{12}`).Draw(t, "run")
		h.launch(t, runID)
		r, f := &run{}, New("main", nil)
		trees, cuts := []string{tree(t, f.Tree())}, []*Fold{f.Clone()}
		hist, stored := newHistory(store.RunRef{WorkflowName: "main"}), 0
		catchUp := func() {
			h.append(t, runID, r.log[stored:]...)
			stored = len(r.log)
			require.NoError(t, h.view(runID, func(s *source) error { return hist.advance(s, nil) }))
		}
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			if rapid.IntRange(0, 14).Draw(t, "jumps") == 0 {
				to := rapid.Int64Range(0, f.Frame()).Draw(t, "to")
				r.jump(f.Frame(), to)
				trees, cuts = trees[:to+1], cuts[:to+1]
				f = cuts[to].Clone()
			} else {
				r.draw(t, f)
				made, err := f.Apply(r.log[len(r.log)-1])
				require.NoError(t, err)
				if made {
					trees, cuts = append(trees, tree(t, f.Tree())), append(cuts, f.Clone())
				}
			}
			if rapid.IntRange(0, 7).Draw(t, "look") == 0 {
				catchUp()
				require.Equal(t, trees[len(trees)-1], tree(t, hist.tip.Tree()))
			}
		}
		catchUp()
		require.NoError(t, h.view(runID, func(s *source) error {
			anew, _, err := load(s.v, runID)
			require.NoError(t, err)
			for _, hist := range []*history{hist, anew} {
				require.EqualValues(t, len(trees)-1, hist.latest())
				for i := range trees {
					f, err := hist.at(s, int64(i))
					require.NoError(t, err)
					require.Equal(t, trees[i], tree(t, f.Tree()), "frame %d", i)
				}
			}
			k := rapid.IntRange(0, len(trees)-1).Draw(t, "cut")
			cut, err := CutAt(s.v, runID, int64(k))
			require.NoError(t, err)
			require.Equal(t, cuts[k].logSeq, cut.LogSeq)
			require.Len(t, cut.Nodes, len(cuts[k].states))
			for i, s := range cuts[k].states {
				require.Equal(t, CutNode{Key: s.key, Kind: s.desc.Kind, State: s.state, Attempt: s.attempt, Settled: s.settled, LogSeq: s.logSeq}, cut.Nodes[i])
			}
			return nil
		}))
	})
}

func (h *house) view(runID string, do func(*source) error) error {
	return h.st.View(bg, func(v *store.View) error { return do(&source{v: v, runID: runID}) })
}

func TestCheckpoints(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	r := &run{}
	for i := range 300 {
		r.task(string(rune('a' + i%26)))
	}
	h.append(t, "r", r.log...)
	require.NoError(t, h.view("r", func(s *source) error {
		hist := newHistory(store.RunRef{WorkflowName: "main"})
		require.NoError(t, hist.advance(s, nil))
		require.EqualValues(t, 900, hist.latest())
		require.Len(t, hist.marks, 18)
		for i, m := range hist.marks {
			require.EqualValues(t, 50*(i+1), m.frame)
		}
		want := hist.marks[9].Clone()
		hist.marks = nil // dropped for the sake of memory
		f, err := hist.at(s, 500)
		require.NoError(t, err)
		require.Equal(t, tree(t, want.Tree()), tree(t, f.Tree()))
		require.Len(t, hist.marks, 9, "made again on the way")
		return nil
	}))
	_, err := cutAt(h, "r", 901)
	require.ErrorAs(t, err, new(*FrameError))
	_, err = cutAt(h, "nope", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func cutAt(h *house, runID string, n int64) (c *Cut, err error) {
	err = h.st.View(bg, func(v *store.View) (err error) {
		c, err = CutAt(v, runID, n)
		return err
	})
	return c, err
}
