package store

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestProbesBackOff makes commits fail for ten seconds, and looks at when the store
// tries on its own.
func TestProbesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var since time.Time // of the failure; zero: commits succeed
		var tried []time.Duration
		s := open(t, func(o *Options) {
			o.commitFault = func() error {
				mu.Lock()
				defer mu.Unlock()
				if since.IsZero() {
					return nil
				}
				past := time.Since(since)
				tried = append(tried, past)
				if past < 10*time.Second {
					return errBoom
				}
				return nil
			}
		})
		withRun(t, s, "r")
		mu.Lock()
		since = time.Now()
		mu.Unlock()
		unit := func() error {
			return s.Update(context.Background(), func(tx *Tx) error { return tx.Append("r", silent(1)) })
		}
		require.ErrorIs(t, unit(), ErrUnavailable)
		for s.Healthy() != nil {
			require.ErrorIs(t, unit(), ErrUnavailable, "refused at once, without a try of its own")
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		require.Equal(t, []time.Duration{0, ms(50), ms(150), ms(350), ms(750), ms(1550), ms(3150), ms(6350), ms(11350)}, tried,
			"twice as long each time, five seconds at most")
		require.NoError(t, unit())
		mu.Lock()
		since, tried = time.Time{}, nil
		mu.Unlock()
		time.Sleep(time.Hour)
		require.Empty(t, tried, "a healthy store is not probed")
	})
}

func TestIdleLogIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, func(o *Options) { o.longLog = 1 << 20 })
		withRun(t, s, "r")
		fill(t, s, 2)
		synctest.Wait()
		require.Greater(t, s.Stats().WALBytes, int64(2<<20))
		time.Sleep(idleAfter - time.Millisecond)
		update(t, s, func(tx *Tx) error { return tx.Append("r", silent(1)) })
		time.Sleep(idleAfter - time.Millisecond)
		synctest.Wait()
		require.Greater(t, s.Stats().WALBytes, int64(2<<20), "not while somebody commits")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Zero(t, s.Stats().WALBytes)
	})
}

func TestCheckpointsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		look, err := dial(s.path, "rw")
		require.NoError(t, err)
		defer look.Close()
		rest := func() int64 { // frames that are not in the database
			synctest.Wait()
			state, err := checkpoint(look, "NOOP")
			require.NoError(t, err)
			return state.log - state.done
		}
		withRun(t, s, "r")
		fill(t, s, 8)
		time.Sleep(checkpointStart - time.Millisecond)
		require.Greater(t, rest(), int64(checkpointFrames), "the start comes first")
		time.Sleep(time.Millisecond)
		require.Zero(t, rest())
		time.Sleep(time.Second)
		update(t, s, func(tx *Tx) error { return tx.Append("r", silent(1)) })
		require.Positive(t, rest(), "a few are not worth a sync")
		fill(t, s, 8)
		require.Greater(t, rest(), int64(checkpointFrames), "the look at the first commit was a moment ago")
		time.Sleep(checkpointPause - time.Millisecond)
		require.Greater(t, rest(), int64(checkpointFrames))
		time.Sleep(time.Millisecond)
		require.Zero(t, rest())
	})
}
