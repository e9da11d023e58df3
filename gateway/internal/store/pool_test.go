package store

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadersUsedLastComeFirst(t *testing.T) {
	s := open(t)
	of := func(do func(*View)) { view(t, s, do) }
	var first, second *conn
	of(func(v *View) {
		first = v.c
		of(func(v *View) { second = v.c })
	})
	require.NotSame(t, first, second, "one at a time each")
	for range 2 * defaultReaders {
		of(func(v *View) { require.Same(t, first, v.c, "given back last") })
	}

	var nest func(depth int)
	nest = func(depth int) {
		if depth == 0 {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.View(ctx, func(*View) error { return nil }), context.Canceled, "all are in use")
			return
		}
		of(func(*View) { nest(depth - 1) })
	}
	nest(defaultReaders)
	of(func(*View) {})
}

func TestReadersAreOpenedWhenNeeded(t *testing.T) {
	s := open(t)
	s.warming.Wait()
	view(t, s, func(*View) {})
	require.Len(t, s.readers.idle, 1, "one at a time")
	view(t, s, func(*View) { view(t, s, func(*View) {}) })
	require.Len(t, s.readers.idle, 2)

	// One that cannot be opened is not missing later.
	path := s.path
	view(t, s, func(*View) {
		view(t, s, func(*View) {
			s.path = filepath.Join(t.TempDir(), "missing.db")
			for range 2 * defaultReaders {
				require.ErrorIs(t, s.View(t.Context(), func(*View) error { return nil }), ErrUnavailable)
			}
			s.path = path
			view(t, s, func(*View) {})
		})
	})
	require.Len(t, s.readers.idle, 3)
}
