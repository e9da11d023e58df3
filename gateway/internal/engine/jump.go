package engine

import (
	"time"

	"go.uber.org/zap"
)

// recheck is the longest that the waker sleeps. A clock that was set forward makes
// timers due at once, but not the timer that was armed for them.
const recheck = 15 * time.Second

// leastJump is what counts as a clock that was set rather than slewed.
const leastJump = time.Second

// monotonic is what a Clock has that can be set while the process runs: the time
// since some moment, which nobody sets. A clock without it never jumps.
type monotonic interface{ Elapsed() time.Duration }

// reading is what a clock showed when it was looked at.
type reading struct {
	wall    time.Time
	elapsed time.Duration
}

// jumped returns by how much the clock was set since it was asked last.
func (r *reading) jumped(c Clock) time.Duration {
	m, ok := c.(monotonic)
	if !ok {
		return 0
	}
	now := reading{c.Now().Round(0), m.Elapsed()}
	before := *r
	*r = now
	if before.wall.IsZero() {
		return 0
	}
	jump := now.wall.Sub(before.wall) - (now.elapsed - before.elapsed)
	if jump.Abs() < leastJump {
		return 0
	}
	return jump
}

// jumped tells the runs in memory that the clock was set. Timers, deadlines of waits
// and retries are moments of the day and keep them; what an attempt may take is a
// span of time and moves along.
func (e *Engine) jumped(by time.Duration) {
	e.log.Warn("the clock of this machine was set", zap.Duration("by", by))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.runs {
		r.box.post(func() { r.jumped(by.Milliseconds()) })
	}
}

func (r *run) jumped(ms int64) {
	for _, n := range r.openNodes() {
		if !n.live {
			continue
		}
		if n.deadline != 0 {
			n.deadline += ms
		}
		n.lastBeat += ms
	}
	r.tick()
}
