package engine

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// slowReads lets something happen between a read's snapshot and its result.
type slowReads struct {
	Storage
	during func()
}

func (s *slowReads) View(ctx context.Context, do func(*store.View) error) error {
	err := s.Storage.View(ctx, do)
	s.during()
	return err
}

// A timer that is stored while a page of timers is being read is not in that page, and
// must not be left to the next one, minutes later.
func TestTimerStoredWhileAPageIsRead(t *testing.T) {
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	reads := &slowReads{Storage: st}
	clock := newFakeClock()
	e := New(Options{Store: reads, Clock: clock})
	w := &e.waker
	const at = enginetest.Epoch + 1000
	require.False(t, w.add("r", at, false), "no page has been read")

	w.running = true // as while fire reads its page: else the timer fires at once, and reads one, too
	held := false
	reads.during = func() { held = w.add("r", at, false) }
	require.NoError(t, w.page(t.Context()))
	require.True(t, held, "the page ends behind the timer, but does not have it")
	require.Equal(t, 1, w.len())

	require.True(t, w.add("s", at, false))
	require.False(t, w.add("s", at+2*wakeWindow, false), "beyond the page it is the database's")
	w.stop()
}
