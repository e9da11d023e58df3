package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// oneToken is a store with one token, known by its hash.
func oneToken(token string) string {
	return fmt.Sprintf(`{"version":2,"tokens":{"entry":{"tokenId":%q,"role":"operator","scopes":["run:read"],"tokenHash":%q}}}`,
		token+"-id", hashText(token))
}

func put(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// swap replaces path by rename, as editors do.
func swap(t *testing.T, path, content string) {
	t.Helper()
	put(t, path+".new", content)
	require.NoError(t, os.Rename(path+".new", path))
}

type watched struct {
	*Watcher
	t       *testing.T
	changes chan struct{}
}

func watch(t *testing.T, path string) *watched { return watchWith(t, path, systemEvents) }

func watchWith(t *testing.T, path string, events func() (*folderEvents, error)) *watched {
	w := &watched{t: t, changes: make(chan struct{}, 100)}
	var err error
	w.Watcher, err = openWatcher(path, zap.NewNop(), func() { w.changes <- struct{}{} }, events)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

func (w *watched) knows(token string) bool {
	p, err := w.Current().Lookup(token, time.Now())
	return err == nil && p != nil
}

// within waits for a condition. That it comes within a second is held in fake time.
func (w *watched) within(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for !cond() {
		select {
		case <-w.changes:
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			w.t.Fatalf("%s: not within the time; err %v", what, w.Err())
		}
	}
}

func (w *watched) learns(token string) {
	w.t.Helper()
	w.within("learn "+token, func() bool { return w.knows(token) })
}

func TestWatcherMissingThenWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	w := watch(t, path)
	require.NoError(t, w.Err())
	require.True(t, w.Missing())
	require.False(t, w.knows("a"))
	put(t, path, oneToken("a"))
	w.learns("a")
	require.False(t, w.Missing())
}

// A mount over a folder raises no event; neither does anything when inotify is
// exhausted.
func TestWatcherWithoutEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mnt", "tokens.json")
	w := watchWith(t, path, func() (*folderEvents, error) { return nil, errors.New("out of instances") })
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	put(t, path, oneToken("a"))
	w.learns("a")
	swap(t, path, oneToken("b"))
	w.learns("b")
	require.NoError(t, os.Remove(path))
	w.within("forget", func() bool { return !w.knows("b") })
}

func TestWatcherFoldersAppearLater(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x", "y", "tokens.json")
	w := watch(t, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	put(t, path, oneToken("a"))
	w.learns("a")
	swap(t, path, oneToken("b"))
	w.learns("b")
	require.False(t, w.knows("a"))
}

func TestWatcherReplacedRewrittenRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	put(t, path, oneToken("a"))
	w := watch(t, path)
	require.True(t, w.knows("a"))
	swap(t, path, oneToken("b"))
	w.learns("b")
	put(t, path, oneToken("c")) // same size, in place
	w.learns("c")
	require.NoError(t, os.Remove(path))
	w.within("forget", func() bool { return !w.knows("c") })
	require.NoError(t, w.Err())
	put(t, path, oneToken("d"))
	w.learns("d")
}

func TestWatcherMalformedDeniesAllUntilItParses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	put(t, path, oneToken("a"))
	w := watch(t, path)
	p, _ := w.Current().Lookup("a", time.Now())
	put(t, path, `{"tokens":`)
	w.within("deny", func() bool { return w.Err() != nil })
	require.ErrorIs(t, w.Err(), ErrCorrupt)
	require.False(t, w.knows("a"))
	require.Equal(t, errBadToken, w.Current().Recheck(p, time.Now()))
	put(t, path, oneToken("a"))
	w.learns("a")
	require.NoError(t, w.Err())
	require.Nil(t, w.Current().Recheck(p, time.Now()))
}

func TestWatcherMalformedAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	put(t, path, "nonsense")
	w := watch(t, path)
	require.ErrorIs(t, w.Err(), ErrCorrupt)
	swap(t, path, oneToken("a"))
	w.learns("a")
}

func TestWatcherNoRegularFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	require.NoError(t, os.Mkdir(path, 0o700))
	w := watch(t, path)
	require.ErrorContains(t, w.Err(), "not a regular file")
}

// Kubernetes: tokens.json -> ..data/tokens.json, ..data -> ..<time>, swapped by
// renaming a new symlink over ..data.
func TestWatcherKubernetesSwap(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symlinks need a privilege")
	}
	dir := t.TempDir()
	version := func(name, token string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		put(t, filepath.Join(dir, name, "tokens.json"), oneToken(token))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", "a")
	path := filepath.Join(dir, "tokens.json")
	require.NoError(t, os.Symlink(filepath.Join("..data", "tokens.json"), path))
	w := watch(t, path)
	require.True(t, w.knows("a"))
	version("..2", "b")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "..1")))
	w.learns("b")
	version("..3", "c")
	w.learns("c")
}

func TestWatcherSymlinkElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symlinks need a privilege")
	}
	here, there := t.TempDir(), t.TempDir()
	target, path := filepath.Join(there, "real.json"), filepath.Join(here, "tokens.json")
	require.NoError(t, os.Symlink(target, path)) // dangling at first
	w := watch(t, path)
	require.True(t, w.Missing())
	put(t, target, oneToken("a"))
	w.learns("a")
	swap(t, target, oneToken("b"))
	w.learns("b")
}

func TestWatcherFolderReplaced(t *testing.T) {
	dir := t.TempDir()
	live, next := filepath.Join(dir, "live"), filepath.Join(dir, "next")
	for d, token := range map[string]string{live: "a", next: "b"} {
		require.NoError(t, os.Mkdir(d, 0o700))
		put(t, filepath.Join(d, "tokens.json"), oneToken(token))
	}
	w := watch(t, filepath.Join(live, "tokens.json"))
	require.NoError(t, os.Rename(live, filepath.Join(dir, "old")))
	require.NoError(t, os.Rename(next, live))
	w.learns("b")
	swap(t, filepath.Join(live, "tokens.json"), oneToken("c"))
	w.learns("c")
}

func TestWatcherSymlinkLoop(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symlinks need a privilege")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens.json")
	require.NoError(t, os.Symlink("tokens.json", path))
	w := watch(t, path)
	require.Error(t, w.Err())
	require.False(t, w.knows("a"))
}

func TestWatcherTellsOnlyOfChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	put(t, path, oneToken("a"))
	w := watch(t, path)
	before := w.state.Load()
	swap(t, path, oneToken("a")) // same content
	w.within("look again", func() bool { return w.state.Load() != before })
	require.Empty(t, w.changes)
}

func TestWatcherCloseTwice(t *testing.T) {
	w, err := OpenWatcher(filepath.Join(t.TempDir(), "none", "tokens.json"), nil, nil)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.Equal(t, 0, w.Current().Len())
}
