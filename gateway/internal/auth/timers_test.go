package auth

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// told is a watcher in fake time whose file events the test sends.
type told struct {
	*Watcher
	path    string
	events  chan fsnotify.Event
	errors  chan error
	changes atomic.Int32
}

func tell(t *testing.T, content string) *told {
	w := &told{path: filepath.Join(t.TempDir(), "tokens.json"), events: make(chan fsnotify.Event), errors: make(chan error)}
	if content != "" {
		put(t, w.path, content)
	}
	var err error
	nothing := func(string) error { return nil }
	w.Watcher, err = openWatcher(w.path, zap.NewNop(), func() { w.changes.Add(1) }, func() (*folderEvents, error) {
		return &folderEvents{events: w.events, errors: w.errors, add: nothing, remove: nothing, close: func() error { return nil }}, nil
	})
	require.NoError(t, err)
	synctest.Wait()
	return w
}

func (w *told) knows(token string) bool {
	synctest.Wait()
	p, err := w.Current().Lookup(token, time.Now())
	return err == nil && p != nil
}

// after reports whether the token is known d later, and was not just before.
func (w *told) after(t *testing.T, d time.Duration, token string) {
	t.Helper()
	time.Sleep(d - time.Millisecond)
	require.False(t, w.knows(token), "too early")
	time.Sleep(time.Millisecond)
	require.True(t, w.knows(token), "%v", w.Err())
}

func TestStoreIsLookedAtWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tell(t, oneToken("a"))
		defer w.Close()
		put(t, w.path, oneToken("b")) // a file system that raises no events
		w.after(t, pollPresent, "b")
		put(t, w.path, oneToken("c"))
		w.after(t, pollPresent, "c")
		require.EqualValues(t, 2, w.changes.Load())

		require.NoError(t, os.Remove(w.path))
		time.Sleep(pollPresent)
		require.False(t, w.knows("c"))
		put(t, w.path, oneToken("d")) // a missing one is looked for more often
		w.after(t, pollMissing, "d")

		close(w.errors) // the system gave the watch up
		synctest.Wait()
		time.Sleep(debounce)
		synctest.Wait()
		put(t, w.path, oneToken("e"))
		w.after(t, pollMissing, "e")
	})
}

func TestEventsAreDebouncedButNotPutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tell(t, oneToken("a"))
		defer w.Close()
		for _, token := range []string{"b", "c", "d"} {
			put(t, w.path, oneToken(token))
			w.events <- fsnotify.Event{Name: w.path}
			time.Sleep(debounce / 4)
		}
		w.after(t, debounce/4, "d")
		require.EqualValues(t, 1, w.changes.Load(), "one look")
		put(t, w.path, oneToken("e"))
		w.errors <- errors.New("overflow") // it may have swallowed the event
		w.after(t, debounce, "e")
	})
}

func TestHalfWrittenStoreIsNotBelievedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tell(t, oneToken("a"))
		defer w.Close()
		put(t, w.path, `{"tok`)
		w.events <- fsnotify.Event{Name: w.path}
		time.Sleep(debounce + retryCorrupt)
		require.True(t, w.knows("a"))
		put(t, w.path, oneToken("b")) // the writer has come to its end
		time.Sleep(retryCorrupt)
		require.True(t, w.knows("b"))
		require.EqualValues(t, 1, w.changes.Load())

		put(t, w.path, `{"tok`)
		w.events <- fsnotify.Event{Name: w.path}
		time.Sleep(debounce + (corruptLooks-1)*retryCorrupt - time.Millisecond)
		require.True(t, w.knows("b"))
		time.Sleep(time.Millisecond)
		require.False(t, w.knows("b"))
		require.ErrorIs(t, w.Err(), ErrCorrupt)
	})
}

func TestLockIsWaitedForAWhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	synctest.Test(t, func(t *testing.T) {
		unlock, err := lockStore(t.Context(), path)
		require.NoError(t, err)
		start := time.Now()
		_, err = lockStore(t.Context(), path)
		require.ErrorIs(t, err, ErrLocked)
		require.Equal(t, lockWait, time.Since(start))
		time.AfterFunc(5*time.Second, unlock)
		start = time.Now()
		again, err := lockStore(t.Context(), path)
		require.NoError(t, err)
		require.Less(t, time.Since(start), 5*time.Second+100*time.Millisecond, "soon after it is free")
		again()
	})
}
