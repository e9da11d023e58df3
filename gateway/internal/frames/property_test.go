package frames

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Whatever the log says: the deltas lead from each snapshot to the next, ids are
// unique, and what a clone was taken of does not show in it.
func TestDeltasLeadFromFrameToFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, f := &run{}, New("main", nil)
		at := copyOf(t, f.Tree())
		var clones []*Fold
		var trees []string
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			r.draw(t, f)
			ev := r.log[len(r.log)-1]
			made, err := f.Apply(ev)
			require.NoError(t, err)
			require.Equal(t, Makes(ev.Type), made)
			if !made {
				continue
			}
			d := f.Delta()
			require.Equal(t, f.Frame(), d.Seq)
			require.Equal(t, f.Frame()-1, d.BaseSeq)
			at, err = ApplyDelta(at, d)
			require.NoError(t, err)
			at = copyOf(t, at)
			require.Equal(t, tree(t, f.Tree()), tree(t, at), "frame %d", f.Frame())
			requireSound(t, at)
			if rapid.IntRange(0, 9).Draw(t, "clone") == 0 {
				clones, trees = append(clones, f.Clone()), append(trees, tree(t, f.Tree()))
			}
		}
		for i, c := range clones {
			require.Equal(t, trees[i], tree(t, c.Tree()))
			for _, ev := range r.log {
				if ev.LogSeq > c.logSeq {
					_, err := c.Apply(ev)
					require.NoError(t, err)
				}
			}
			require.Equal(t, tree(t, f.Tree()), tree(t, c.Tree()), "a clone goes the same way")
		}
		require.Equal(t, tree(t, r.fold(t).Tree()), tree(t, f.Tree()), "folding is deterministic")
	})
}

// requireSound holds a tree against what clients rely on.
func requireSound(t require.TestingT, root *wire.DevToolsNode) {
	seen := map[int64]bool{}
	var visit func(n *wire.DevToolsNode, depth int)
	visit = func(n *wire.DevToolsNode, depth int) {
		require.False(t, seen[n.ID], "id %d twice", n.ID)
		require.True(t, n.ID >= 0 && n.ID <= idMask)
		require.Equal(t, depth, n.Depth)
		require.NotNil(t, n.Children)
		seen[n.ID] = true
		for _, c := range n.Children {
			visit(c, depth+1)
		}
	}
	visit(root, 0)
}
