package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelloIsSharedAndFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var version, builds, inside atomic.Int64
		h := newHelloCache(func(context.Context) (json.RawMessage, error) {
			require.EqualValues(t, 1, inside.Add(1), "builds never overlap")
			defer inside.Add(-1)
			seen := version.Load()
			time.Sleep(10 * time.Millisecond)
			builds.Add(1)
			return json.RawMessage(strconv.FormatInt(seen, 10)), nil
		}, version.Load)
		defer h.close()

		version.Store(1)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				b, err := h.get(t.Context())
				require.NoError(t, err)
				require.Equal(t, "1", string(b))
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, builds.Load())
		start := time.Now()
		_, err := h.get(t.Context())
		require.NoError(t, err)
		require.Zero(t, time.Since(start), "still true: no wait, no build")

		// Never older than the call, however fast the state changes.
		for i := int64(2); i < 12; i++ {
			version.Store(i)
			b, err := h.get(t.Context())
			require.NoError(t, err)
			got, err := strconv.ParseInt(string(b), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, got, i)
		}
		require.GreaterOrEqual(t, time.Since(start), 9*helloPause, "at most ten builds a second")

		// Someone who asks during a build gets the next one.
		version.Store(20)
		time.Sleep(helloPause)
		wg.Go(func() { _, err := h.get(t.Context()); require.NoError(t, err) })
		time.Sleep(5 * time.Millisecond)
		version.Store(21)
		b, err := h.get(t.Context())
		require.NoError(t, err)
		require.Equal(t, "21", string(b))
		wg.Wait()
	})
}

func TestHelloFailuresAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := errors.New("disk")
		h := newHelloCache(func(ctx context.Context) (json.RawMessage, error) { return nil, fail }, func() int64 { return 1 })
		_, err := h.get(t.Context())
		require.ErrorIs(t, err, fail)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = h.get(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "waits for its turn, not for ever")
		h.close()
		_, err = h.get(t.Context())
		require.ErrorIs(t, err, errRouterClosed)
	})
}

func TestHelloBuildIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHelloCache(func(ctx context.Context) (json.RawMessage, error) {
			<-ctx.Done() // a database that does not answer
			return nil, ctx.Err()
		}, func() int64 { return 1 })
		defer h.close()
		start := time.Now()
		_, err := h.get(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, helloLimit, time.Since(start))
	})
}
