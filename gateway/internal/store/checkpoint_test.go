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
	s.checkpoints.help.Store(true)
	update(t, s, func(tx *Tx) error { return tx.Append("r", silent(1)) })
	require.Eventually(t, func() bool { return !s.checkpoints.help.Load() }, time.Minute, time.Millisecond)
	before := s.Stats().WALBytes
	fill(t, s, 4)
	require.LessOrEqual(t, s.Stats().WALBytes, before+8<<20)
}

// A checkpointer decides by the state of the log alone whether the committer is to help.
func TestCommitterHelpsWithALongLog(t *testing.T) {
	s := open(t, func(o *Options) { o.Checkpoint = CheckpointExternal; o.Durability = DurabilityNormal })
	withRun(t, s, "r")
	k, err := newCheckpointer(s.path, DurabilityNormal, s.log)
	require.NoError(t, err)
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

	fill(t, s, helpFrames*4/1024)
	k.passive()
	require.Zero(t, state().rest())
	require.True(t, k.help.Load(), "a long one is to begin anew")
	k.committed(s.writer)
	require.False(t, k.help.Load())
	fill(t, s, 1)
	require.Less(t, state().log, int64(helpFrames), "it did")

	view(t, s, func(v *View) { // a reader, who needs what lies behind him in the log
		_, err := v.EventBounds("r")
		require.NoError(t, err)
		fill(t, s, 2*helpFrames*4/1024)
		k.passive()
		require.Greater(t, state().rest(), int64(helpFrames))
		require.False(t, k.help.Load(), "there is too much to copy while a commit waits")
	})
}

func TestLogEndsSomewhere(t *testing.T) {
	const most, ofOneCommit = 1024, 400
	s := open(t, func(o *Options) { o.Durability, o.mostFrames = DurabilityNormal, most })
	c, err := dial(s.path, "rw")
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	frames := func() int64 {
		got, err := checkpoint(c, "NOOP")
		require.NoError(t, err)
		return got.log
	}

	withRun(t, s, "r")
	longest := int64(0)
	for range 20 { // the checkpointer has not begun yet, or has: it may not be relied on
		fill(t, s, 1)
		longest = max(longest, frames())
	}
	require.Greater(t, longest, int64(most/2))
	require.LessOrEqual(t, longest, int64(most+2*ofOneCommit), "the one that is too long, and one before it is seen")

	view(t, s, func(v *View) {
		_, err := v.EventBounds("r")
		require.NoError(t, err)
		fill(t, s, 20)
		require.Greater(t, frames(), int64(2*most), "a reader keeps it, and nobody waits for him")
	})
	fill(t, s, 2*checkpointFrames*4/1024)
	require.Less(t, frames(), int64(2*most), "then it begins anew")
}

// Behind a reader the committer tries now and then, not with each commit.
func TestCommitterHelpsUnaskedNowAndThen(t *testing.T) {
	k := &checkpointer{most: 5_000}
	for _, step := range []struct {
		frames int64
		help   bool
	}{
		{0, false}, {5_000, false}, {5_001, true}, {5_002, false}, {6_001, false}, {6_002, true}, {6_003, false},
		{40, false}, {5_001, true},
	} {
		require.Equal(t, step.help, k.isLong(step.frames), step.frames)
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
