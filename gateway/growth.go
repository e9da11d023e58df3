package gateway

import (
	"math"
	"path/filepath"
	"sync"
	"time"
)

// Times of the growth of the database: how often it is measured, over how long, and from
// when on that tells something of a day.
const (
	growthEvery  = time.Minute
	growthWindow = 6 * time.Hour
	growthKnown  = time.Hour
)

// growth follows the size of the database and forecasts when its disk is full. Safe
// for concurrent use.
type growth struct {
	mu     sync.Mutex
	sizes  []sizeAt // of the window, oldest first
	free   int64    // bytes; -1: not known
	probed time.Time
}

type sizeAt struct {
	at    time.Time
	bytes int64
}

// note adds a measurement.
func (g *growth) note(at time.Time, bytes, free int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free, g.probed = free, at
	g.sizes = append(g.sizes, sizeAt{at, bytes})
	for len(g.sizes) > 2 && at.Sub(g.sizes[0].at) > growthWindow {
		g.sizes = g.sizes[1:]
	}
}

// perDay is the growth in bytes a day, by the window; 0 until it is an hour long.
func (g *growth) perDay() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.sizes) < 2 {
		return 0
	}
	first, last := g.sizes[0], g.sizes[len(g.sizes)-1]
	passed := last.at.Sub(first.at)
	if passed < growthKnown {
		return 0
	}
	return float64(last.bytes-first.bytes) / passed.Hours() * 24
}

// full is how many seconds the disk lasts at that rate: +Inf when nothing grows or
// the free space is not known.
func (g *growth) full() float64 {
	perDay := g.perDay()
	free := g.freeBytes()
	if perDay <= 0 || free < 0 {
		return math.Inf(1)
	}
	return free / perDay * (24 * time.Hour).Seconds()
}

// freeBytes is what the disk of the database has left, -1 when that is not known.
func (g *growth) freeBytes() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probed.IsZero() {
		return -1
	}
	return float64(g.free)
}

// startGrowth measures from now on.
func (r *running) startGrowth() {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		tick := time.NewTicker(growthEvery)
		defer tick.Stop()
		for {
			s := r.store.Stats()
			// Without the write-ahead log, which grows to its usual size after each start.
			r.growth.note(time.Now(), s.DBBytes, freeSpace(filepath.Dir(r.store.Path())))
			select {
			case <-tick.C:
			case <-r.ctx.Done():
				return
			}
		}
	}()
}
