package enginetest

import (
	"context"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Store stands between an engine and its store. It can die after a number of
// commits: from then on it swallows everything, as a process does that was killed.
// Safe for concurrent use.
type Store struct {
	inner  *store.Store
	notify chan<- struct{}
	life   context.Context // ends when the store dies
	die    context.CancelFunc

	mu      sync.Mutex
	commits int
	limit   int
	away    bool
	blind   bool
	hook    func(tx *store.Tx) error
}

// NewStore wraps st. notify, which may be nil, is sent to after every commit unless
// it is full.
func NewStore(st *store.Store, notify chan<- struct{}) *Store {
	f := &Store{inner: st, notify: notify}
	f.life, f.die = context.WithCancel(context.Background())
	return f
}

// Life ends when the store dies: for callers that would wait for it forever.
func (f *Store) Life() context.Context { return f.life }

// DieAfter makes the store die with its n-th commit from now; what that commit says
// is in the database, but nobody is told.
func (f *Store) DieAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = f.commits + n
}

// Kill makes the store die at once.
func (f *Store) Kill() { f.die() }

// Dead reports whether the store has died.
func (f *Store) Dead() bool { return f.life.Err() != nil }

// SetAway makes every unit fail with store.ErrUnavailable, or no longer.
func (f *Store) SetAway(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = on
}

// SetBlind makes every View fail with store.ErrUnavailable, or no longer.
func (f *Store) SetBlind(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blind = on
}

// SetHook has every unit from now on begin with hook, on the committer's goroutine;
// nil ends that.
func (f *Store) SetHook(hook func(tx *store.Tx) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// begin is the first thing of every unit.
func (f *Store) begin(tx *store.Tx) error {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	switch {
	case f.Dead():
		return store.ErrUnavailable
	case hook != nil:
		return hook(tx)
	}
	return nil
}

// Submit is store.Store's.
func (f *Store) Submit(do func(*store.Tx) error, done func(error)) {
	f.submit(f.inner.Submit, do, done)
}

// SubmitRepeatable is store.Store's.
func (f *Store) SubmitRepeatable(do func(*store.Tx) error, done func(error)) {
	f.submit(f.inner.SubmitRepeatable, do, done)
}

func (f *Store) submit(to func(func(*store.Tx) error, func(error)), do func(*store.Tx) error, done func(error)) {
	f.mu.Lock()
	away := f.away
	f.mu.Unlock()
	switch {
	case f.Dead():
		return
	case away:
		done(store.ErrUnavailable)
		return
	}
	to(func(tx *store.Tx) error {
		if err := f.begin(tx); err != nil {
			return err
		}
		return do(tx)
	}, func(err error) {
		if !f.committed(err) && done != nil {
			done(err)
		}
	})
}

// committed counts a commit and reports whether the store is dead.
func (f *Store) committed(err error) (dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && !f.Dead() {
		if f.commits++; f.limit > 0 && f.commits >= f.limit {
			f.die()
		}
		select {
		case f.notify <- struct{}{}:
		default:
		}
	}
	return f.Dead()
}

// Update is store.Store's.
func (f *Store) Update(ctx context.Context, do func(*store.Tx) error) error {
	result := make(chan error, 1)
	f.Submit(do, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// View is store.Store's.
func (f *Store) View(ctx context.Context, do func(*store.View) error) error {
	f.mu.Lock()
	blind := f.blind
	f.mu.Unlock()
	if blind || f.Dead() {
		return store.ErrUnavailable
	}
	return f.inner.View(ctx, do)
}
