// Package store keeps the gateway's state in one SQLite file. It is the only
// package that opens it.
//
// Writing goes through the committer: one goroutine that owns the only writing
// connection, runs queued units in order and commits many of them at once (see
// Submit). Reading goes through a small pool of connections (see View). Nothing is
// reported, to OnCommit or to a unit's done function, before it is durable.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Durability of a commit.
const (
	DurabilityFull   = "full"   // synced before it is reported
	DurabilityNormal = "normal" // survives a crash of the process, not of the machine
)

// Who checkpoints the write-ahead log.
const (
	CheckpointAuto     = "auto"
	CheckpointExternal = "external" // somebody else does (Litestream)
)

const defaultReaders = 4

// Options of Open.
type Options struct {
	Path       string
	Durability string // "" means DurabilityFull
	Checkpoint string // "" means CheckpointAuto
	Readers    int    // reading connections; 0 means 4
	// Adopt raises every run's next seq and the state version, as Restore does, each
	// time the store is opened with it. For one start after the file was replaced by
	// other means.
	Adopt  bool
	Logger *zap.Logger      // nil: none
	Now    func() time.Time // nil: time.Now
	Owner  string           // shown to others who find the file locked

	commitFault func() error // tests: called instead of COMMIT when it returns an error
	queueLen    int          // tests: bound of the queue
	probeEvery  time.Duration
	longLog     int64 // tests: instead of truncateBytes
	mostFrames  int64 // tests: instead of the constant
}

// Store is an open database. All methods are safe for concurrent use.
type Store struct {
	path string
	opts Options
	log  *zap.Logger
	now  func() time.Time

	lock    *os.File
	writer  *conn // the committer's alone
	readers pool[*conn]
	replays pool[*rawConn] // for long histories

	queue       *queue
	counters    *counters // the committer's alone
	runs        *runCache // likewise
	onCommit    func([]*Event)
	onLog       func([]*Event)
	onChange    func(Collections)
	observe     func(time.Duration, int, int)
	version     atomic.Int64 // last committed state version
	health      atomic.Pointer[error]
	commits     atomic.Int64
	units       atomic.Int64
	events      atomic.Int64
	commitNanos atomic.Int64
	shrink      atomic.Bool // the writer is to give back cached pages

	checkpoints *checkpointer // nil with CheckpointExternal
	committer   sync.WaitGroup
	warming     sync.WaitGroup
	closing     chan struct{} // closed when no new View may start
	closeOnce   sync.Once
	closeErr    error
}

// Open opens or creates the database, takes its owner lock and migrates it. A
// missing folder is created (mode 0700) if its parent exists. Errors are
// ErrOwned, ErrUnwritable, ErrCorrupt, ErrNewerSchema or those of SQLite; in these
// cases the file is as it was before.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	path, err := realPath(opts.Path)
	if err != nil {
		return nil, err
	}
	if err := ensureFolder(path); err != nil {
		return nil, err
	}
	if path, err = realPath(path); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{
		path:    path,
		opts:    opts,
		log:     opts.Logger,
		now:     opts.Now,
		queue:   newQueue(opts.queueLen),
		closing: make(chan struct{}),
	}
	if s.lock, err = lockDatabase(path); err != nil {
		return nil, err
	}
	if err := s.openConns(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	s.start()
	return s, nil
}

func (o *Options) fill() error {
	if o.Path == "" {
		return errors.New("store: no path given")
	}
	switch o.Durability {
	case "":
		o.Durability = DurabilityFull
	case DurabilityFull, DurabilityNormal:
	default:
		return fmt.Errorf("store: durability is %q; allowed are %q and %q", o.Durability, DurabilityFull, DurabilityNormal)
	}
	switch o.Checkpoint {
	case "":
		o.Checkpoint = CheckpointAuto
	case CheckpointAuto, CheckpointExternal:
	default:
		return fmt.Errorf("store: checkpoint is %q; allowed are %q and %q", o.Checkpoint, CheckpointAuto, CheckpointExternal)
	}
	if o.Readers <= 0 {
		o.Readers = defaultReaders
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.queueLen <= 0 {
		o.queueLen = maxQueue
	}
	if o.probeEvery <= 0 {
		o.probeEvery = firstProbe
	}
	return nil
}

// openConns opens the writer and migrates. Readers are opened when they are needed.
func (s *Store) openConns() (err error) {
	if s.writer, err = openWriter(s.path, s.opts.Durability, s.now()); err != nil {
		return err
	}
	if s.opts.Adopt {
		if err := raiseNumbers(s.writer, "adopt", "", s.now()); err != nil {
			return fmt.Errorf("adopt %s: %w", s.path, err)
		}
	}
	if err := writeOwner(s.writer, s.opts.Owner, s.now()); err != nil {
		return openError(s.path, err)
	}
	version, err := readStateVersion(s.writer)
	if err != nil {
		return fmt.Errorf("read state version: %w", err)
	}
	s.version.Store(version)
	s.counters = newCounters(version)
	s.runs = newRunCache()
	s.replays.init(s.opts.Readers, s.openReplay)
	s.readers.init(s.opts.Readers, s.openView)
	if s.opts.Checkpoint == CheckpointAuto {
		if s.checkpoints, err = newCheckpointer(s.path, s.opts.Durability, s.log); err != nil {
			return openError(s.path, err)
		}
		if s.opts.longLog > 0 {
			s.checkpoints.long = s.opts.longLog
		}
		if s.opts.mostFrames > 0 {
			s.checkpoints.most = s.opts.mostFrames
		}
		if err := s.writer.raw.noteLogLength(); err != nil {
			return openError(s.path, err)
		}
	}
	return nil
}

func (s *Store) start() {
	s.committer.Add(1)
	go s.runCommitter()
	s.warming.Add(1)
	go s.warm()
	if s.checkpoints != nil {
		s.checkpoints.start()
	}
}

// Path is the real path of the database.
func (s *Store) Path() string { return s.path }

// StateVersion is the last committed state version.
func (s *Store) StateVersion() int64 { return s.version.Load() }

// Healthy returns nil, or why the storage cannot commit at present.
func (s *Store) Healthy() error {
	if p := s.health.Load(); p != nil {
		return *p
	}
	return nil
}

// OnCommit sets the function that learns of the pushed events (those with a Name)
// of each transaction, in commit order, after COMMIT and before the units' done
// functions. It runs on the committer goroutine and must not block. Call it before
// the first Submit.
func (s *Store) OnCommit(fn func(events []*Event)) { s.onCommit = fn }

// OnLog is OnCommit for all events of a transaction, pushed or not, after OnCommit and on
// the same terms. The slice is used again after the call.
func (s *Store) OnLog(fn func(events []*Event)) { s.onLog = fn }

// Observe sets a function that learns how long each transaction took from BEGIN to
// the end of COMMIT and how many units and events it had. Call it before the first
// Submit.
func (s *Store) Observe(fn func(took time.Duration, units, events int)) { s.observe = fn }

// Close commits what is queued, waits for views in progress, checkpoints the log
// and releases the lock. Later calls of Submit fail with ErrClosed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.queue.close()
		s.committer.Wait()
		close(s.closing)
		s.warming.Wait()
		closed := s.readers.close() // a view gives its connection back when it ends
		if s.checkpoints != nil {
			s.checkpoints.stop()
		}
		s.closeErr = errors.Join(closed, s.closeFiles())
	})
	return s.closeErr
}

// closeFiles closes connections, the writer last so that it is the one to
// checkpoint, and then the lock.
func (s *Store) closeFiles() error {
	errs := []error{s.replays.close()}
	if s.checkpoints != nil {
		errs = append(errs, s.checkpoints.conn.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
