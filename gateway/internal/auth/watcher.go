package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Times of a Watcher.
const (
	debounce     = 50 * time.Millisecond  // after a file event, before reading
	noisePause   = 50 * time.Millisecond  // after one that is of no concern, before hearing another
	retryCorrupt = 100 * time.Millisecond // between two looks at a file that does not parse
	corruptLooks = 3                      // looks before it is believed: writers that truncate are quick
	pollMissing  = 500 * time.Millisecond // a mount over a folder raises no file event
	pollPresent  = 30 * time.Second       // for file systems that raise none at all
)

// Watcher keeps the grants of a token store file current. It watches the folders
// of the file and of every symlink on the way to it, because editors and
// Kubernetes replace files by rename; it polls where the system raises no events.
//
// A missing file is an empty store. A file that does not parse denies every token
// until it parses again. Current and Err may be called from any goroutine.
type Watcher struct {
	path     string
	log      *zap.Logger
	onChange func()
	state    atomic.Pointer[watchState]

	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// watchState is what the last look at the file showed.
type watchState struct {
	grants *Grants
	err    error
	sum    [sha256.Size]byte
	info   os.FileInfo // nil when missing
}

// OpenWatcher reads the store at path and watches it. OnChange, which may be nil,
// is called from the watcher's goroutine after the grants or the error changed; it
// must not call Close. Neither a missing nor a malformed file is an error here.
func OpenWatcher(path string, logger *zap.Logger, onChange func()) (*Watcher, error) {
	return openWatcher(path, logger, onChange, systemEvents)
}

func openWatcher(path string, logger *zap.Logger, onChange func(), events func() (*folderEvents, error)) (*Watcher, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("token store path: %w", err)
	}
	if logger == nil {
		logger = zap.NewNop()
	}
	w := &Watcher{path: abs, log: logger, onChange: onChange, stop: make(chan struct{}), done: make(chan struct{})}
	notify, err := events()
	if err != nil { // out of inotify instances, usually
		logger.Warn("token store is polled: file events are not available", zap.String("path", abs), zap.Error(err))
		notify = nil
	}
	dirs := &dirSet{notify: notify, watched: map[string]bool{}}
	dirs.follow(abs)
	first := look(abs)
	w.state.Store(first)
	w.report(first)
	go w.run(dirs)
	return w, nil
}

// Current returns the grants in force.
func (w *Watcher) Current() *Grants { return w.state.Load().grants }

// Err returns why the store denies every token: an error that wraps ErrCorrupt or
// one of the file system. A missing file is no error.
func (w *Watcher) Err() error { return w.state.Load().err }

// Missing reports that there is no store file.
func (w *Watcher) Missing() bool {
	s := w.state.Load()
	return s.info == nil && s.err == nil
}

// Close stops watching and waits until the last onChange has returned.
func (w *Watcher) Close() error {
	w.once.Do(func() { close(w.stop) })
	<-w.done
	return nil
}

func (w *Watcher) run(dirs *dirSet) {
	defer close(w.done)
	defer dirs.close()
	timer := time.NewTimer(w.interval(dirs))
	defer timer.Stop()
	soon := false // a look is due within debounce; later events do not put it off
	hurry := func() {
		if !soon {
			soon = true
			timer.Reset(debounce)
		}
	}
	// In a busy folder, as that of the database is, equal events become one while nobody
	// takes them.
	var deaf <-chan time.Time
	for looks := 0; ; {
		events := dirs.events()
		if deaf != nil {
			events = nil
		}
		select {
		case <-w.stop:
			return
		case <-deaf:
			deaf = nil
		case ev, ok := <-events:
			if !ok || dirs.concerns(ev.Name) || !w.same() {
				hurry()
			} else {
				deaf = time.After(noisePause)
			}
			if !ok {
				dirs.notify = nil
			}
		case _, ok := <-dirs.errors():
			hurry() // an overflow may have swallowed the event that matters
			if !ok {
				dirs.notify = nil
			}
		case <-timer.C:
			soon = false
			dirs.follow(w.path)
			next := look(w.path)
			if looks++; errors.Is(next.err, ErrCorrupt) && looks < corruptLooks {
				timer.Reset(retryCorrupt)
				break
			}
			looks = 0
			w.accept(next)
			timer.Reset(w.interval(dirs))
		}
	}
}

// interval is how long to wait for a file event before looking anyway.
func (w *Watcher) interval(dirs *dirSet) time.Duration {
	if w.state.Load().info == nil || dirs.notify == nil || dirs.blind {
		return pollMissing
	}
	return pollPresent
}

// same reports whether the file looks as it did, without reading it.
func (w *Watcher) same() bool {
	old := w.state.Load().info
	info, err := os.Stat(w.path)
	if err != nil || old == nil {
		return err != nil && old == nil
	}
	return os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime())
}

// accept puts a look in force, and tells when it differs from the one before.
func (w *Watcher) accept(next *watchState) {
	old := w.state.Load()
	same := old.sum == next.sum && (old.info == nil) == (next.info == nil) && text(old.err) == text(next.err)
	if same {
		next.grants = old.grants
	}
	w.state.Store(next)
	if same {
		return
	}
	w.report(next)
	if w.onChange != nil {
		w.onChange()
	}
}

func (w *Watcher) report(s *watchState) {
	switch path := zap.String("path", w.path); {
	case s.err != nil:
		w.log.Error("token store cannot be read, every token is denied", path, zap.Error(s.err))
	case s.info == nil:
		w.log.Warn("token store does not exist yet, every token is denied", path)
	default:
		w.log.Info("token store loaded", path, zap.Int("tokens", s.grants.Len()))
	}
}

// look reads the file once.
func look(path string) *watchState {
	data, info, err := readStore(path)
	s := &watchState{info: info, err: err}
	switch {
	case err != nil:
	case info == nil:
		s.grants = &Grants{}
	default:
		s.sum = sha256.Sum256(data)
		s.grants, s.err = ParseGrants(data)
	}
	return s
}

// readStore returns the bytes of a store; info is nil when there is none. It
// refuses what is no regular file before opening it, since opening a pipe hangs.
func readStore(path string) (data []byte, info os.FileInfo, err error) {
	info, err = os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read token store: %w", err)
	case !info.Mode().IsRegular():
		return nil, info, fmt.Errorf("%w: %s is not a regular file", ErrCorrupt, path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, info, fmt.Errorf("read token store: %w", err)
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, info, fmt.Errorf("read token store: %w", err)
	case len(data) > maxFileBytes:
		return nil, info, fmt.Errorf("%w: it is larger than %d bytes", ErrCorrupt, maxFileBytes)
	}
	return data, info, nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
