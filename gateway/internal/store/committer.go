package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Back-off between probes while the storage cannot commit.
const (
	firstProbe = 50 * time.Millisecond
	lastProbe  = 5 * time.Second
)

// Submit queues a unit of work. do runs on the committer goroutine inside the
// transaction, alone and in order of submission; its reads see what earlier units
// wrote. If it fails or panics, its own writes, and only those, are undone.
//
// done, which may be nil, runs on the committer goroutine too: with nil after the
// COMMIT, with the error of do if that failed, or with an error that wraps
// ErrUnavailable when the storage failed. It must not block, but it may Submit. do
// must not Submit, nor wait for anything.
//
// Submit blocks while the queue is full (8,192 units), save for calls made while
// done functions run. On a closed store done gets ErrClosed on a goroutine of its
// own.
func (s *Store) Submit(do func(*Tx) error, done func(error)) { s.submit(&unit{do: do, done: done}) }

func (s *Store) submit(u *unit) {
	if err := s.queue.push(context.Background(), u); err != nil && u.done != nil {
		go u.done(err)
	}
}

// Update is Submit that waits. If ctx ends before the unit has begun, it does not
// run; if it ends later, Update returns at once and the unit commits or fails
// unseen. Never call it from a done function.
func (s *Store) Update(ctx context.Context, do func(*Tx) error) error {
	result := make(chan error, 1)
	err := s.queue.push(ctx, &unit{ctx: ctx, do: do, done: func(err error) { result <- err }})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runCommitter takes whatever queued while the last transaction ran. No timer: an
// idle store commits at once, a busy one in batches.
func (s *Store) runCommitter() {
	var units []*unit
	ended := false
	defer func() {
		if ended {
			s.committer.Done()
			return
		}
		// Somebody's function called runtime.Goexit, as a failing test does.
		s.abandon(units)
		go s.runCommitter()
	}()
	tx := newTx(s)
	for {
		var closed bool
		units, closed = s.queue.take()
		if len(units) == 0 {
			if closed {
				ended = true
				return
			}
			if s.shrink.Swap(false) {
				s.shrinkConn(s.writer)
			}
			<-s.queue.wake
			continue
		}
		if err := s.commitBatch(tx, units); err != nil {
			s.recover(err)
		}
	}
}

// commitBatch runs units in one transaction and reports to everybody concerned. It
// returns an error only if the storage failed.
func (s *Store) commitBatch(tx *Tx, units []*unit) error {
	start := time.Now()
	err := s.transact(tx, units)
	if err != nil {
		s.counters.forget(s.version.Load())
		s.runs.clear()
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		s.health.Store(&err)
		s.report(nil, nil, units, err)
		return err
	}
	took := time.Since(start)
	s.version.Store(s.counters.version)
	s.commits.Add(1)
	s.units.Add(int64(len(units)))
	s.events.Add(int64(len(tx.logged)))
	s.commitNanos.Add(int64(took))
	if s.observe != nil {
		s.observe(took, len(units), len(tx.logged))
	}
	if tx.touched != 0 && s.onChange != nil {
		s.guard("OnChange", func() { s.onChange(tx.touched) })
	}
	s.report(tx.events, tx.logged, units, nil)
	s.counters.trim()
	if s.checkpoints != nil {
		s.checkpoints.committed(s.writer)
	}
	return nil
}

// transact runs the units of a batch between BEGIN and COMMIT.
func (s *Store) transact(tx *Tx, units []*unit) error {
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	tx.begin()
	defer tx.end()
	for _, u := range units {
		u.err = tx.run(u)
		if lost := tx.c.broken; lost != nil {
			return errors.Join(lost, s.rollback())
		}
	}
	if err := s.commit(tx); err != nil {
		return errors.Join(err, s.rollback())
	}
	return nil
}

func (s *Store) commit(tx *Tx) error {
	if v := s.counters.version; v != s.version.Load() {
		if err := setMeta(s.writer, metaStateVersion, strconv.FormatInt(v, 10)); err != nil {
			return err
		}
	}
	if s.opts.commitFault != nil {
		if err := s.opts.commitFault(); err != nil {
			return err
		}
	}
	_, err := s.writer.exec("COMMIT")
	return err
}

func (s *Store) rollback() error {
	_, err := s.writer.exec("ROLLBACK")
	return ignoreNoTransaction(err)
}

// report tells the world of a transaction: its events first, then each unit.
func (s *Store) report(events, logged []*Event, units []*unit, failed error) {
	s.queue.setCallbacks(true)
	defer s.queue.setCallbacks(false)
	if len(events) > 0 && s.onCommit != nil {
		s.guard("OnCommit", func() { s.onCommit(events) })
	}
	if len(logged) > 0 && s.onLog != nil {
		s.guard("OnLog", func() { s.onLog(logged) })
	}
	for i, u := range units {
		if u == nil {
			continue // told already, see abandon
		}
		units[i] = nil
		err := u.err
		if failed != nil {
			err = failed // decisions of the unit may rest on what was rolled back
		}
		if u.done != nil {
			s.guard("done", func() { u.done(err) })
		}
	}
}

// abandon ends a batch whose goroutine is dying and tells the units that wait.
func (s *Store) abandon(units []*unit) {
	s.log.Error("a function run by the store ended its goroutine")
	err := errors.Join(fmt.Errorf("%w: a unit of work ended its goroutine", ErrUnavailable), s.rollback())
	s.counters.forget(s.version.Load())
	s.runs.clear()
	s.report(nil, nil, units, err)
}

// guard keeps the committer alive when a callback panics.
func (s *Store) guard(what string, fn func()) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error("panic in a callback of the store", zap.String("callback", what),
				zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
	}()
	fn()
}

// recover refuses all units until a small transaction of its own succeeds.
func (s *Store) recover(cause error) {
	s.log.Error("storage cannot commit", zap.String("database", s.path), zap.Error(cause))
	wait := s.opts.probeEvery
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.queue.wake:
			units, closed := s.queue.take()
			s.report(nil, nil, units, s.Healthy())
			if closed {
				s.queue.signal() // for runCommitter, which ends
				return
			}
			continue
		}
		err := s.probe()
		if err == nil {
			s.health.Store(nil)
			s.log.Info("storage commits again", zap.String("database", s.path))
			return
		}
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		s.health.Store(&err)
		wait = min(2*wait, max(lastProbe, s.opts.probeEvery))
		timer.Reset(wait)
	}
}

func (s *Store) probe() error {
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := setMeta(s.writer, metaProbe, strconv.FormatInt(s.now().UnixMilli(), 10))
	if err == nil && s.opts.commitFault != nil {
		err = s.opts.commitFault()
	}
	if err == nil {
		_, err = s.writer.exec("COMMIT")
	}
	if err != nil {
		return errors.Join(err, s.rollback())
	}
	return nil
}
