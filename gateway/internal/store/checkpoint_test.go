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
