package jsmod

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// A job is one slice of computing in a VM, done by a worker goroutine. There are
// processors.Number of them, and one more for each slice that goes on late: a machine that
// waits holds none.
type job struct {
	vm    *VM
	fn    func() error
	done  chan error
	state atomic.Int32 // jobRunning until one side decides
}

const (
	jobRunning int32 = iota
	jobLate          // still running, beside another worker that has taken the place of its own
	jobFinished
	jobAbandoned
)

// quantum is how long a slice keeps its place while others may want it.
const quantum = 50 * time.Millisecond

func (h *Host) startWorker() {
	h.wg.Add(1)
	go func() {
		thread := quickjs.NewThread()
		for {
			select {
			case j := <-h.jobs:
				var crashed bool
				if !h.work(j, thread, &crashed) {
					thread.Close()
					return
				}
				if crashed { // what the panic left on the stack is not to be trusted
					thread.Close()
					thread = quickjs.NewThread()
				}
			case <-h.ctx.Done():
				thread.Close()
				h.wg.Done()
				return
			}
		}
	}()
}

// work runs a job and reports whether the worker may go on: not when another worker
// took this one's place meanwhile, because the slice was late or the VM given up.
func (h *Host) work(j *job, thread *quickjs.Thread, crashed *bool) (alive bool) {
	err := j.guarded(thread)
	var crash *enginePanic
	*crashed = errors.As(err, &crash)
	if j.state.CompareAndSwap(jobRunning, jobFinished) {
		j.done <- err
		return true
	}
	if j.state.CompareAndSwap(jobLate, jobFinished) {
		j.done <- err
		h.wg.Done()
		return false
	}
	j.vm.free() // abandon has already counted this worker out
	h.abandoned.Add(-1)
	return false
}

// guarded turns a panic of the engine into an error; the VM cannot be used again.
func (j *job) guarded(thread *quickjs.Thread) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &enginePanic{value: p, stack: debug.Stack()}
		}
	}()
	if err := j.vm.begin(thread); err != nil {
		return err
	}
	return j.fn()
}

type enginePanic struct {
	value any
	stack []byte
}

func (e *enginePanic) Error() string { return fmt.Sprintf("the JavaScript engine failed: %v", e.value) }

// slice runs fn on a worker when it is its turn, at most limit long. When the limit passes, the engine
// is interrupted; when it does not return within the grace either, as some native
// loops do not, the VM is abandoned with its goroutine and errAbandoned returned.
func (h *Host) slice(vm *VM, limit time.Duration, fn func() error) error {
	if h.turns.take(h.ctx, vm.key) != nil {
		return ErrClosed
	}
	late := false
	defer func() { h.turns.leave(vm.key, late) }()
	j := &job{vm: vm, fn: fn, done: make(chan error, 1)}
	select {
	case h.jobs <- j:
	case <-h.ctx.Done():
		return ErrClosed
	}
	waited := vm.waits.total()
	timer := time.NewTimer(min(quantum, limit))
	defer timer.Stop()
	if limit > quantum {
		select {
		case err := <-j.done:
			return err
		case <-timer.C:
		}
		late = h.relieve(j)
		timer.Reset(limit - quantum)
	}
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

// relieve lets another worker take the place of one whose slice takes long.
func (h *Host) relieve(j *job) (late bool) {
	if !h.turns.overtime(j.vm.key) {
		return false
	}
	if j.state.CompareAndSwap(jobRunning, jobLate) {
		h.startWorker()
	} // else it is just done
	return true
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
	j.vm.js.Interrupt()
	select {
	case err := <-j.done:
		if err == nil {
			err = errTimeLimit
		}
		return err
	case <-deadline.C:
	}
	late := j.state.CompareAndSwap(jobLate, jobAbandoned)
	if !late && !j.state.CompareAndSwap(jobRunning, jobAbandoned) {
		if err := <-j.done; err != nil {
			return err
		}
		return errTimeLimit
	}
	h.abandon(limit, late)
	return errAbandoned
}

// abandon counts a worker out; late says that another one has its place already.
func (h *Host) abandon(limit time.Duration, late bool) {
	n := int(h.abandoned.Add(1))
	if !late {
		h.startWorker()
	}
	h.wg.Done()
	h.logger.Error("a workflow does not stop computing and was given up; its processor core stays busy until the process restarts",
		zap.Duration("time_limit", limit), zap.Int("abandoned", n))
	if h.options.OnAbandoned != nil {
		h.options.OnAbandoned(n, n >= h.options.MaxAbandoned)
	}
}
