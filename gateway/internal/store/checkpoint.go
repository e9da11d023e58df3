package store

import (
	"errors"
	"fmt"
	"math"
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
	mostFrames       = 12_288   // beyond, it does so at once and however much there is to copy
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
// therefore copies the rest itself, between two transactions, once it is short; beyond
// mostFrames it does so without being asked, and commits wait as long as that takes.
type checkpointer struct {
	path string
	conn *conn
	log  *zap.Logger
	wake chan struct{}
	quit chan struct{}
	wg   sync.WaitGroup
	help atomic.Bool
	long int64 // bytes of an idle log that is cut

	copying sync.Mutex // SQLite turns away who wants to copy while another does
	most    int64      // frames beyond which the committer helps unasked
	helpAt  int64      // the next time; the committer's
}

func newCheckpointer(path, durability string, log *zap.Logger) (*checkpointer, error) {
	c, err := dial(path, "rw")
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
	if asked := k.help.Swap(false); k.isLong(writer.raw.logLength()) || asked {
		if _, err := k.copy(writer); err != nil {
			k.log.Warn("checkpoint failed", zap.String("database", k.path), zap.Error(err))
		}
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// isLong reports whether the log has become so long that the committer has to help now. When
// a reader keeps the log from beginning anew, that is seldom.
func (k *checkpointer) isLong(frames int64) bool {
	if frames <= k.most {
		k.helpAt = k.most
		return false
	}
	if frames <= k.helpAt {
		return false
	}
	k.helpAt = frames + checkpointFrames
	return true
}

// copy copies from the log what no reader prevents.
func (k *checkpointer) copy(c *conn) (walState, error) {
	k.copying.Lock()
	defer k.copying.Unlock()
	return checkpoint(c, "PASSIVE")
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

// passive copies what no reader prevents, once it is worth a sync of the database. The
// rest of a long log is what was committed meanwhile: it copies that, too, as long as
// each rest is less than half of the one before, so that no commit waits for much of it.
func (k *checkpointer) passive() {
	state, err := checkpoint(k.conn, "NOOP")
	for last := int64(math.MaxInt64); err == nil && state.rest() >= checkpointFrames && state.rest() < last/2; {
		last = state.rest()
		if _, err = k.copy(k.conn); err != nil {
			break
		}
		if state, err = checkpoint(k.conn, "NOOP"); state.log <= helpFrames {
			break
		}
	}
	if err != nil {
		k.log.Warn("checkpoint failed", zap.String("database", k.path), zap.Error(err))
		return
	}
	k.help.Store(state.log > helpFrames && state.rest() < helpFrames)
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
