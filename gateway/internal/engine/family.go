package engine

import (
	"strings"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// maxFamily bounds the runs below one run that was launched from outside, children of
// children included, over its whole life.
const maxFamily = 10_000

// maxFamilies bounds the families that memory knows the size of. Losing one costs a
// scan of its runs.
const maxFamilies = 1_024

// families counts child runs by the run at the top.
type families struct {
	mu    sync.Mutex
	sizes map[string]int
}

// grow counts one more child run, unless the family is full. A unit that is undone
// leaves the count too high by one, which does not matter.
func (f *families) grow(tx *store.Tx, childID string) (full bool, err error) {
	top, _, _ := strings.Cut(childID, childMark)
	f.mu.Lock()
	defer f.mu.Unlock()
	size, known := f.sizes[top]
	if !known {
		if size, err = tx.CountRunsBelow(top+childMark, maxFamily); err != nil {
			return false, err
		}
	}
	if f.sizes == nil || len(f.sizes) >= maxFamilies {
		f.sizes = make(map[string]int)
	}
	if size >= maxFamily {
		f.sizes[top] = size
		return true, nil
	}
	f.sizes[top] = size + 1
	return false, nil
}
