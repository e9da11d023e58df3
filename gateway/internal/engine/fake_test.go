package engine

import (
	"context"
	"sort"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// fakeClock moves only when told.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	c    *fakeClock
	at   time.Time
	f    func()
	done bool
}

func newFakeClock() *fakeClock { return &fakeClock{now: time.UnixMilli(1_795_000_000_000)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c: c, at: c.now.Add(d), f: f}
	if d <= 0 {
		t.done = true
		go f()
		return t
	}
	c.timers = append(c.timers, t)
	return t
}

func (t *fakeTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	was := !t.done
	t.done = true
	return was
}

// advance moves the clock and fires what is due, earliest first.
func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		kept := c.timers[:0]
		for _, t := range c.timers {
			if !t.done {
				kept = append(kept, t)
			}
		}
		c.timers = kept
		sort.SliceStable(c.timers, func(i, j int) bool { return c.timers[i].at.Before(c.timers[j].at) })
		if len(c.timers) == 0 || c.timers[0].at.After(end) {
			break
		}
		t := c.timers[0]
		t.done = true
		if t.at.After(c.now) {
			c.now = t.at
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// faultStore stands between engine and store. After limit committed units it
// swallows everything, as a process does that was killed.
type faultStore struct {
	inner Storage
	h     *house

	mu      sync.Mutex
	commits int
	limit   int // 0: none
	isDead  bool
	died    chan struct{}
	away    bool // every unit fails with ErrUnavailable

	hook func(tx *store.Tx) error // begins every unit
}

// setHook has every unit from now on begin with hook, on the committer's goroutine.
func (f *faultStore) setHook(hook func(tx *store.Tx) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *faultStore) hooked(tx *store.Tx) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(tx)
}

func (f *faultStore) Submit(do func(*store.Tx) error, done func(error)) {
	f.mu.Lock()
	dead, away := f.isDead, f.away
	f.mu.Unlock()
	if dead {
		return
	}
	if away {
		done(store.ErrUnavailable)
		return
	}
	f.inner.Submit(func(tx *store.Tx) error {
		if f.dead() {
			return store.ErrUnavailable
		}
		if err := f.hooked(tx); err != nil {
			return err
		}
		return do(tx)
	}, func(err error) {
		if f.dead() {
			return
		}
		if err == nil {
			f.count()
		}
		if f.dead() {
			return
		}
		if done != nil {
			done(err)
		}
	})
}

func (f *faultStore) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits++
	if f.limit > 0 && f.commits >= f.limit && !f.isDead {
		f.isDead = true
		if f.died != nil {
			close(f.died)
		}
	}
	select {
	case f.h.notify <- struct{}{}:
	default:
	}
}

func (f *faultStore) Update(ctx context.Context, do func(*store.Tx) error) error {
	result := make(chan error, 1)
	f.Submit(do, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *faultStore) View(ctx context.Context, do func(*store.View) error) error {
	if f.dead() {
		return store.ErrUnavailable
	}
	return f.inner.View(ctx, do)
}

func (f *faultStore) dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.isDead
}

func (f *faultStore) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.isDead = true
}

func (f *faultStore) setAway(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = on
}
