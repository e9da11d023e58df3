package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsGivenBackAfterABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bytes atomic.Uint64
		var given atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		defer func() { cancel(); <-done }()
		go func() {
			defer close(done)
			giveBack{allocated: bytes.Load, give: func() { given.Add(1); time.Sleep(time.Second) }}.run(ctx)
		}()
		passes := func(looks int) int64 {
			time.Sleep(time.Duration(looks) * giveBackEvery)
			synctest.Wait()
			return given.Load()
		}
		synctest.Wait()
		bytes.Add(worthBytes - 1)
		require.Zero(t, passes(100), "too little to be worth it")

		for range 10 {
			bytes.Add(quietBytes + 1)
			require.Zero(t, passes(1), "busy")
		}
		require.Zero(t, passes(1), "quiet for a moment")
		require.EqualValues(t, 1, passes(2), "quiet")
		require.EqualValues(t, 1, passes(100), "nothing new")

		bytes.Add(worthBytes)
		require.EqualValues(t, 2, passes(4))
		bytes.Add(worthBytes)
		require.EqualValues(t, 2, passes(giveBackShare/2-5), "a second of work was enough for a while")
		require.EqualValues(t, 3, passes(20))
	})
}

func TestAllocationsOfTheProcessAreKnown(t *testing.T) {
	before := heapAllocated()
	sink = make([]byte, 1<<20)
	require.GreaterOrEqual(t, heapAllocated()-before, uint64(1<<20))
}

var sink []byte
