package jsmod

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A job is one slice of computing in a VM. It is done by one of GOMAXPROCS worker
// goroutines, which are thereby the semaphore of the JavaScript engine: a machine
// that waits holds none of them.
type job struct {
	vm    *VM
	fn    func() error
	done  chan error
	state atomic.Int32 // jobRunning until one side decides
}

const (
	jobRunning int32 = iota
	jobFinished
	jobAbandoned
)

func (h *Host) startWorker() {
	h.wg.Add(1)
	go func() {
		for {
			select {
			case j := <-h.jobs:
				if !h.work(j) {
					return // abandon has already counted this worker out
				}
			case <-h.ctx.Done():
				h.wg.Done()
				return
			}
		}
	}()
}

// work runs a job and reports whether the worker may go on: not when its caller
// gave the VM up meanwhile, since then another worker took this one's place.
func (h *Host) work(j *job) (alive bool) {
	err := j.guarded()
	if j.state.CompareAndSwap(jobRunning, jobFinished) {
		j.done <- err
		return true
	}
	j.vm.free()
	h.abandoned.Add(-1)
	return false
}

// guarded turns a panic of the engine into an error; the VM cannot be used again.
func (j *job) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &enginePanic{value: p, stack: debug.Stack()}
		}
	}()
	return j.fn()
}

type enginePanic struct {
	value any
	stack []byte
}

func (e *enginePanic) Error() string { return fmt.Sprintf("the JavaScript engine failed: %v", e.value) }

// slice runs fn on a worker, at most limit long. When the limit passes, the engine
// is interrupted; when it does not return within the grace either, as some native
// loops do not, the VM is abandoned with its goroutine and errAbandoned returned.
func (h *Host) slice(vm *VM, limit time.Duration, fn func() error) error {
	j := &job{vm: vm, fn: fn, done: make(chan error, 1)}
	select {
	case h.jobs <- j:
	case <-h.ctx.Done():
		return ErrClosed
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	waited := vm.waits.total()
	for {
		select {
		case err := <-j.done:
			return err
		case <-timer.C:
		}
		more := vm.waits.total() - waited
		if more <= 0 {
			return h.interrupt(j, limit)
		}
		waited += more
		timer.Reset(max(more, minExtension))
	}
}

// minExtension keeps a slice that waits at the end of its limit from being looked at
// all the time.
const minExtension = 5 * time.Millisecond

// waits counts how long slices of a VM have waited for the gateway instead of
// computing: that time is not theirs.
type waits struct {
	mu    sync.Mutex
	sum   time.Duration
	since time.Time // of a wait that goes on
}

func (w *waits) total() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() {
		return w.sum
	}
	return w.sum + time.Since(w.since)
}

// pause stops the clock of the running slice until the returned function is called.
func (vm *VM) pause() (resume func()) {
	w := &vm.waits
	w.mu.Lock()
	w.since = time.Now()
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		w.sum += time.Since(w.since)
		w.since = time.Time{}
		w.mu.Unlock()
	}
}

func (h *Host) interrupt(j *job, limit time.Duration) error {
	j.vm.expired.Store(true)
	deadline := time.NewTimer(h.grace)
	defer deadline.Stop()
	// The engine forgets an interrupt when a call into it begins, so it is repeated.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		j.vm.js.Interrupt()
		select {
		case err := <-j.done:
			if err == nil {
				err = errTimeLimit
			}
			return err
		case <-again.C:
		case <-deadline.C:
			if !j.state.CompareAndSwap(jobRunning, jobAbandoned) {
				if err := <-j.done; err != nil {
					return err
				}
				return errTimeLimit
			}
			h.abandon(limit)
			return errAbandoned
		}
	}
}

func (h *Host) abandon(limit time.Duration) {
	n := int(h.abandoned.Add(1))
	h.startWorker()
	h.wg.Done()
	h.logger.Error("a workflow does not stop computing and was given up; its processor core stays busy until the process restarts",
		zap.Duration("time_limit", limit), zap.Int("abandoned", n))
	if h.options.OnAbandoned != nil {
		h.options.OnAbandoned(n, n >= h.options.MaxAbandoned)
	}
}
