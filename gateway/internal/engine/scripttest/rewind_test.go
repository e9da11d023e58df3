package scripttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// TestRewindGivesTheFrame rewinds runs of scripts to random frames and kills the process
// at the commit that does it. What is read then is that frame, as it was read before, with
// every frame up to it and none beyond; and the run comes to its end from there.
func TestRewindGivesTheFrame(t *testing.T) {
	journeys := 2
	if testing.Short() {
		journeys = 1
	}
	defs := module(t, "crash.mjs")
	for key := range mortal {
		t.Run(key, func(t *testing.T) {
			h := newHouse(t, defs).open()
			h.launch(key, "")
			require.True(t, h.play())
			h.ends(key, past{})
			seed := fnv.New64a()
			_, _ = seed.Write([]byte(key))
			random := rand.New(rand.NewPCG(seed.Sum64(), 1))
			for range journeys {
				was := h.readFrames()
				n := 1 + random.IntN(len(was))
				h.fault.DieAfter(1)
				_, _ = h.e.Rewind(h.fault.Life(), engine.Rewind{RunID: "r", FrameNo: int64(n), Force: true,
					By: engine.Actor{UserID: fmt.Sprint(len(was))}})
				h.crash()
				st, err := store.Open(bg, store.Options{Path: h.path, Now: h.clock.Now})
				require.NoError(t, err)
				h.st = st
				require.Equal(t, was[:n], h.readFrames(), "after a rewind from frame %d to frame %d", len(was), n)
				require.NoError(t, st.Close())
				h.open()
				require.True(t, h.play())
				h.ends(key, past{})
				require.Equal(t, was[:n], h.readFrames()[:n], "the frames before a rewind stay")
			}
		})
	}
}

// readFrames reads the tree of every frame as a client does, the newest one by asking for
// no number.
func (h *house) readFrames() (trees []string) {
	h.t.Helper()
	s := frames.NewService(frames.Deps{Store: h.st, Now: h.clock.Now}, frames.Options{})
	defer s.Close()
	read := func(n *int64) (frameNo int64, tree string) {
		snapshot, err := s.Snapshot(bg, "r", n)
		if errors.As(err, new(*frames.FrameError)) {
			return 0, ""
		}
		require.NoError(h.t, err)
		b, err := json.Marshal(snapshot.Root)
		require.NoError(h.t, err)
		return snapshot.FrameNo, string(b)
	}
	latest, newest := read(nil)
	for n := int64(1); n <= latest; n++ {
		no, tree := read(&n)
		require.Equal(h.t, n, no)
		trees = append(trees, tree)
	}
	require.Equal(h.t, newest, trees[len(trees)-1])
	beyond := latest + 1
	no, _ := read(&beyond)
	require.Zero(h.t, no, "there is no frame beyond the newest")
	return trees
}
