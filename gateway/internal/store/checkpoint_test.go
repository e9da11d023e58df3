package store

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fill writes about mib MiB of events as fast as it can.
func fill(t *testing.T, s *Store, mib int) {
	t.Helper()
	payload := make([]byte, 64<<10)
	for range mib {
		update(t, s, func(tx *Tx) error {
			for range 16 {
				if err := tx.Append("r", &Event{Type: "NodeOutput", Payload: payload}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func TestLogStaysBoundedUnderLoad(t *testing.T) {
	s := open(t, func(o *Options) { o.Durability = DurabilityNormal })
	withRun(t, s, "r")
	fill(t, s, 20)
	require.Eventually(t, func() bool { return s.Stats().DBBytes > 10<<20 }, time.Minute, 5*time.Millisecond,
		"checkpoints happen by themselves")
	// The rest of a long log is finished by the committer, so that it starts anew.
	frames := logFrames(t, s)
	require.Eventually(t, func() bool {
		update(t, s, func(tx *Tx) error { return tx.Append("r", silent(1)) })
		return frames() < helpFrames
	}, time.Minute, time.Millisecond)
	before := s.Stats().WALBytes
	fill(t, s, 4)
	require.LessOrEqual(t, s.Stats().WALBytes, before+8<<20)
}

// logFrames tells how many frames the log of a store has.
func logFrames(t *testing.T, s *Store) func() int64 {
	c, err := dial(s.path, "rw")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return func() int64 {
		state, err := checkpoint(c, "NOOP")
		require.NoError(t, err)
		return state.log
	}
}

func TestCommitterHelpsWithALongLog(t *testing.T) {
	s := open(t, func(o *Options) { o.Checkpoint = CheckpointExternal; o.Durability = DurabilityNormal })
	s.warming.Wait() // it reads, and a reader keeps the log
	require.NoError(t, s.writer.raw.noteLogLength())
	withRun(t, s, "r")
	k, err := newCheckpointer(s.path, DurabilityNormal, s.log)
	require.NoError(t, err)
	k.most = 2 * helpFrames
	defer func() { require.NoError(t, k.conn.Close()) }()
	state := func() walState {
		got, err := checkpoint(k.conn, "NOOP")
		require.NoError(t, err)
		return got
	}

	fill(t, s, 4)
	k.passive()
	require.Zero(t, state().rest(), "it is copied")
	require.False(t, k.help.Load(), "a short log may grow")

	fill(t, s, 20)
	k.passive()
	require.Zero(t, state().rest())
	require.True(t, k.help.Load(), "a long one is to begin anew")
	k.committed(s.writer)
	require.False(t, k.help.Load())
	fill(t, s, 1)
	k.committed(s.writer)
	require.Less(t, state().log, int64(helpFrames), "it did")

	fill(t, s, 36)
	require.Greater(t, state().log, k.most)
	k.committed(s.writer)
	require.Zero(t, state().rest(), "nobody had to ask")
	fill(t, s, 1)
	k.committed(s.writer)
	require.Less(t, state().log, int64(helpFrames))

	view(t, s, func(v *View) { // a reader, who needs what lies behind him in the log
		_, err := v.EventBounds("r")
		require.NoError(t, err)
		fill(t, s, 40)
		k.passive()
		require.Greater(t, state().rest(), int64(helpFrames))
		require.False(t, k.help.Load(), "help would be of no use")
		k.committed(s.writer)
		require.Greater(t, state().rest(), int64(helpFrames), "nor is it")
	})
	fill(t, s, 1)
	k.most, k.longAt = 1024, 0
	k.committed(s.writer)
	require.Greater(t, state().rest(), int64(helpFrames), "what the reader leaves is too much to wait for")
	k.passive()
	require.Zero(t, state().rest())
	require.True(t, k.help.Load())
	k.committed(s.writer)
	fill(t, s, 1)
	require.Less(t, state().log, int64(helpFrames))
}

func TestPassesBecomeShorter(t *testing.T) {
	for name, c := range map[string]struct {
		rests []int64 // of the log as it is found, and behind each pass
		short bool    // the log
		made  int
	}{
		"little to copy":       {rests: []int64{checkpointFrames - 1}},
		"enough":               {rests: []int64{checkpointFrames, 0}, made: 1},
		"less each time":       {rests: []int64{20_000, 9_000, 4_000, 900}, made: 3},
		"hardly less":          {rests: []int64{20_000, 12_000}, made: 1},
		"more":                 {rests: []int64{5_000, 9_000}, made: 1},
		"a log that may grow":  {rests: []int64{4_000, 1_900}, short: true, made: 1},
		"somebody else copies": {rests: []int64{5_000, 5_000}, made: 1},
	} {
		t.Run(name, func(t *testing.T) {
			made := 0
			got, err := passes(func(mode string) (walState, error) {
				if mode == "PASSIVE" {
					made++
					return walState{log: -1, done: -1}, nil // the state behind a pass is asked for
				}
				s := walState{log: 50_000, done: 50_000 - c.rests[made]}
				if c.short {
					s.log, s.done = c.rests[made], 0
				}
				return s, nil
			})
			require.NoError(t, err)
			require.Equal(t, c.made, made)
			require.Equal(t, c.rests[c.made], got.rest())
		})
	}
	for _, failing := range []int{0, 1, 2} {
		calls := 0
		_, err := passes(func(string) (walState, error) {
			if calls++; calls > failing {
				return walState{}, errBoom
			}
			return walState{log: 50_000}, nil
		})
		require.ErrorIs(t, err, errBoom)
		require.Equal(t, failing+1, calls)
	}
}

func TestLogEndsSomewhere(t *testing.T) {
	const most, ofOneCommit = 1024, 400
	s := open(t, func(o *Options) { o.Durability, o.mostFrames = DurabilityNormal, most })
	s.warming.Wait() // it reads, and a reader keeps the log
	frames := logFrames(t, s)
	withRun(t, s, "r")
	longest := int64(0)
	for range 20 { // the checkpointer has not begun yet, or has: it may not be relied on
		fill(t, s, 1)
		longest = max(longest, frames())
	}
	require.Greater(t, longest, int64(most/2))
	require.LessOrEqual(t, longest, int64(most+2*ofOneCommit), "the commit that makes it too long, and one in reserve")

	view(t, s, func(v *View) {
		_, err := v.EventBounds("r")
		require.NoError(t, err)
		fill(t, s, 20)
		require.Greater(t, frames(), int64(2*most), "a reader keeps it, and nobody waits for him")
	})
	for mib := 0; frames() > 2*most; mib++ {
		require.Less(t, mib, 2_000, "then it begins anew, although somebody writes as fast as he can")
		fill(t, s, 1)
	}
}

func TestCommitterLooksAtALogThatGrows(t *testing.T) {
	k := &checkpointer{most: 5_000}
	for _, step := range []struct {
		frames int64
		long   bool
	}{
		{20_000, false}, {25_000, false}, {25_001, true}, // a start found it so
		{40, false}, {5_000, false}, {5_001, true}, {5_002, false}, {10_001, false}, {10_002, true}, {10_003, false},
		{40, false}, {5_001, true},
	} {
		require.Equal(t, step.long, k.isLong(step.frames), step.frames)
	}
}

func TestExternalCheckpointKeepsTheLog(t *testing.T) {
	s := open(t, func(o *Options) { o.Checkpoint = CheckpointExternal; o.Durability = DurabilityNormal })
	withRun(t, s, "r")
	fill(t, s, 8)
	require.Nil(t, s.checkpoints)
	require.Greater(t, s.Stats().WALBytes, int64(8<<20))
	require.Less(t, s.Stats().DBBytes, int64(1<<20))
	require.NoError(t, s.View(context.Background(), func(v *View) error {
		_, err := v.EventBounds("r")
		return err
	}))
}
