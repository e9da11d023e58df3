package gateway

import (
	"context"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// When memory is given back: the process is quiet for quietLooks looks in a row, that is
// allocates less than quietBytes between two of them, and has allocated at least
// worthBytes since the last time.
const (
	giveBackEvery = 2 * time.Second
	quietLooks    = 2
	quietBytes    = 4 << 20
	worthBytes    = 16 << 20
	giveBackShare = 100 // of the time, at most one part is spent on it
)

// giveBack returns to the operating system what a burst has left: garbage that is not
// collected before half as much again is allocated, grown stacks, cached pages. A quiet
// process would keep it for minutes, the pages for ever.
type giveBack struct {
	allocated func() uint64 // bytes, since the process started
	give      func()
}

func (b giveBack) run(ctx context.Context) {
	tick := time.NewTicker(giveBackEvery)
	defer tick.Stop()
	last := b.allocated()
	given, quiet, notBefore := last, 0, time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := b.allocated()
		if quiet++; now-last > quietBytes {
			quiet = 0
		}
		last = now
		begin := time.Now()
		if quiet < quietLooks || now-given < worthBytes || begin.Before(notBefore) {
			continue
		}
		b.give()
		notBefore = time.Now().Add(giveBackShare * time.Since(begin))
		last = b.allocated()
		given = last
	}
}

// startGiveBack gives memory back from now on. What the start has taken counts, too.
func (r *running) startGiveBack() {
	r.work.Go(func() {
		giveBack{allocated: heapAllocated, give: func() {
			r.store.Shrink()
			debug.FreeOSMemory()
		}}.run(r.ctx)
	})
}

func heapAllocated() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}
