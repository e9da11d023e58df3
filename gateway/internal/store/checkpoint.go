package store

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Bounds of the write-ahead log. A frame is one page, 4 KiB unless the file was
// created with another size.
const (
	checkpointFrames = 1_000    // checkpoint when so many are not in the database yet
	helpFrames       = 4_096    // beyond, the committer helps to finish; a start behind a kill reads the whole log
	mostFrames       = 12_288   // grown by so many, it does so unasked
	truncateBytes    = 64 << 20 // an idle log longer than this is cut: commits that make one grow again are slow
	checkpointPause  = 100 * time.Millisecond
	checkpointStart  = time.Second // before the first look; a start and its first readers need the processors
	idleAfter        = 2 * time.Second
)

// checkpointer copies the log into the database from a goroutine and connection of
// its own, so that no commit waits for it.
//
// While somebody commits all the time, such a checkpoint never catches up with the
// end of the log, and the log never starts anew. Beyond helpFrames the committer
// therefore copies the rest itself, between two transactions, once it is short. Where the
// rest does not become short it does so nevertheless each mostFrames.
type checkpointer struct {
	path string
	conn *conn
	log  *zap.Logger
	wake chan struct{}
	quit chan struct{}
	wg   sync.WaitGroup
	help atomic.Bool
	long int64 // bytes of an idle log that is cut

	copying  sync.Mutex // passes and help: SQLite turns away who wants to copy while another does
	unsynced bool       // there was a pass since the database was last synced here

	most   int64 // frames by which the log may grow until the committer helps unasked
	seen   int64 // how many it had behind the last commit; the committer's
	longAt int64 // beyond so many the committer helps; its own, too
}

func newCheckpointer(path, durability string, log *zap.Logger) (*checkpointer, error) {
	c, err := dialRaw(path, url.Values{"mode": {"rw"}})
	if err != nil {
		return nil, err
	}
	if err = setup(c); err == nil {
		err = writerPragmas(c, durability)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &checkpointer{path: path, conn: c, log: log, wake: make(chan struct{}, 1), quit: make(chan struct{}),
		long: truncateBytes, most: mostFrames}, nil
}

func (k *checkpointer) start() {
	k.wg.Add(1)
	go k.loop()
}

// stop ends the goroutine after a last look: a long log is cut, for a quick start.
func (k *checkpointer) stop() {
	close(k.quit)
	k.wg.Wait()
	k.truncate()
}

// committed is called by the committer after each transaction.
func (k *checkpointer) committed(writer *conn) {
	asked, long := k.help.Swap(false), k.isLong(writer.raw.logLength())
	if asked || long {
		if err := k.finish(writer, long); err != nil {
			k.log.Warn("checkpoint failed", zap.String("database", k.path), zap.Error(err))
		}
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// isLong reports whether the log has grown by another k.most frames since it began anew. What
// a start finds in it does not count: its first commits are not to wait.
func (k *checkpointer) isLong(frames int64) bool {
	switch {
	case k.seen == 0:
		k.longAt = frames + k.most
	case frames < k.seen: // it began anew
		k.longAt = k.most
	}
	k.seen = frames
	if frames <= k.longAt {
		return false
	}
	k.longAt = frames + k.most
	return true
}

// finish has the committer copy the rest of a log. It waits for a pass under way, so that
// commits which are quicker than passes do not make the log endless. What a reader has kept
// for long is left to the checkpointer.
func (k *checkpointer) finish(writer *conn, long bool) error {
	k.copying.Lock()
	defer k.copying.Unlock()
	state, err := checkpoint(writer, "NOOP")
	if err == nil && (long || state.log > helpFrames) && state.rest() <= 2*k.most {
		_, err = checkpoint(writer, "PASSIVE")
	}
	return err
}

// copy copies from the log what no reader prevents.
func (k *checkpointer) copy() (walState, error) {
	k.copying.Lock()
	defer k.copying.Unlock()
	k.unsynced = true
	return checkpoint(k.conn, "PASSIVE")
}

func (k *checkpointer) loop() {
	defer k.wg.Done()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	pause := time.NewTimer(checkpointStart)
	defer pause.Stop()
	select { // what a start may find in a long log can wait until that has started
	case <-k.quit:
		return
	case <-pause.C:
	}
	for {
		select {
		case <-k.quit:
			return
		case <-idle.C:
			k.truncate()
			continue
		case <-k.wake:
		}
		k.passive()
		idle.Reset(idleAfter)
		pause.Reset(checkpointPause)
		select {
		case <-k.quit:
			return
		case <-pause.C:
		}
	}
}

// passive copies what no reader prevents, and asks for help when a log is long and next to
// nothing is left of it.
func (k *checkpointer) passive() {
	state, err := passes(func(mode string) (walState, error) {
		if mode == "PASSIVE" {
			return k.copy()
		}
		return checkpoint(k.conn, mode)
	})
	help := state.log > helpFrames && state.rest() < helpFrames
	if err == nil && help && k.unsynced {
		// SQLite leaves that to whoever reaches the end of the log, and a commit would wait.
		err = k.conn.raw.syncDatabase()
		k.unsynced = err != nil
	}
	if err != nil {
		k.log.Warn("checkpoint failed", zap.String("database", k.path), zap.Error(err))
		return
	}
	k.help.Store(help)
}

// passes makes passive checkpoints once that is worth a sync, and returns the state behind
// them. What is committed during a pass it leaves: of a long log that is copied at once,
// too, as long as each pass leaves less than half of the one before.
func passes(do func(mode string) (walState, error)) (walState, error) {
	state, err := do("NOOP")
	for last := int64(math.MaxInt64); err == nil && state.rest() >= checkpointFrames && state.rest() < last/2; {
		last = state.rest()
		if _, err = do("PASSIVE"); err == nil {
			state, err = do("NOOP")
		}
		if state.log <= helpFrames {
			break
		}
	}
	return state, err
}

func (k *checkpointer) truncate() {
	if walBytes(k.path) <= k.long {
		return
	}
	if _, err := checkpoint(k.conn, "TRUNCATE"); err != nil {
		k.log.Warn("checkpoint failed", zap.String("database", k.path), zap.Error(err))
	}
}

// walState is what SQLite says of the log, in frames.
type walState struct{ log, done int64 }

func (s walState) rest() int64 { return s.log - s.done }

func checkpoint(c *conn, mode string) (s walState, err error) {
	err = c.one(fmt.Sprintf("PRAGMA wal_checkpoint(%s)", mode), nil, func(r row) {
		s = walState{log: r.num(1), done: r.num(2)}
	})
	return s, err
}

func walBytes(path string) int64 { return fileBytes(path + "-wal") }

func fileBytes(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
