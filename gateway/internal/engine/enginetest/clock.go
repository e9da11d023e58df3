package enginetest

import (
	"sort"
	"sync"
	"time"
)

// Epoch is where a Clock begins, in epoch milliseconds.
const Epoch = 1_795_000_000_000

// Clock moves only when told. Safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*Timer
}

// Timer is a pending call of a Clock.
type Timer struct {
	c    *Clock
	at   time.Time
	f    func()
	done bool
}

// NewClock returns a clock that shows Epoch.
func NewClock() *Clock { return &Clock{now: time.UnixMilli(Epoch)} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc calls f from Advance once d has passed; at once, in a goroutine of its
// own, when d is not positive.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &Timer{c: c, at: c.now.Add(d), f: f}
	if d <= 0 {
		t.done = true
		go f()
		return t
	}
	c.timers = append(c.timers, t)
	return t
}

// Stop prevents the call if it has not begun and reports whether it did.
func (t *Timer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	was := !t.done
	t.done = true
	return was
}

// Advance moves the clock and makes the calls that are due, earliest first.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.now.Add(d)
	for {
		t := c.next(end)
		if t == nil {
			break
		}
		t.done = true
		if t.at.After(c.now) {
			c.now = t.at
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
}

// Due counts the timers that Advance(d) would call, those aside that these set.
func (c *Clock) Due(d time.Duration) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		if !t.done && !t.at.After(c.now.Add(d)) {
			n++
		}
	}
	return n
}

// next is the earliest timer that is due at end, nil for none. mu is held.
func (c *Clock) next(end time.Time) *Timer {
	kept := c.timers[:0]
	for _, t := range c.timers {
		if !t.done {
			kept = append(kept, t)
		}
	}
	clear(c.timers[len(kept):])
	c.timers = kept
	sort.SliceStable(kept, func(i, j int) bool { return kept[i].at.Before(kept[j].at) })
	if len(kept) == 0 || kept[0].at.After(end) {
		return nil
	}
	return kept[0]
}
