package jsmod

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// minimumVM is what a VM is assumed to need before it has run, and what every turn
// may add even when the budget is used up.
const minimumVM = 2 << 20

// errMemoryBudget says that all VMs together use what vm_memory_total allows.
var errMemoryBudget = errors.New("the memory for workflows (vm_memory_total) is used up")

// budget counts the bytes of all VMs.
type budget struct {
	total   int64
	used    atomic.Int64
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when memory becomes free
}

// fits reports whether there is memory for another VM.
func (b *budget) fits() bool { return b.used.Load()+minimumVM <= b.total }

// admit waits until another VM fits; makeRoom is to free what nobody needs.
func (b *budget) admit(ctx context.Context, makeRoom func()) error {
	for !b.fits() {
		makeRoom()
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if b.fits() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(errMemoryBudget, ctx.Err())
		}
	}
	return nil
}

// update replaces what one VM was counted with.
func (b *budget) update(before, after int64) {
	if before == after {
		return
	}
	b.used.Add(after - before)
	if after < before {
		b.mu.Lock()
		close(b.changed)
		b.changed = make(chan struct{})
		b.mu.Unlock()
	}
}

// limit is what a VM that uses used bytes now may grow to in its next turn. As
// many turns run at once as there are workers, so the total is overstepped by a
// known amount at most.
func (b *budget) limit(used, each int64) int64 {
	left := max(b.total-b.used.Load(), minimumVM)
	return min(each, used+left)
}
