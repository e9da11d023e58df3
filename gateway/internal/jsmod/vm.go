package jsmod

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// Reasons for which a VM cannot go on.
var (
	errTimeLimit = errors.New("the time limit passed")
	errAbandoned = errors.New("the VM was abandoned")
	errEndless   = errors.New("promise callbacks that never end")
)

// firstCollection is the heap at which a VM first looks for cycles. The engine's
// default lies below what the prelude alone needs, so that short runs would pay for
// collections that find nothing. What a module takes is added.
const firstCollection = 2 << 20

// hostHandler serves what the JavaScript side of one VM asks for and the VM itself
// does not answer. It is called on a worker goroutine, during a turn.
type hostHandler interface {
	hostCall(op string, args []any) (any, error)
}

// VM is one JavaScript world: the engine, the prelude, a module. It is the only
// type that touches the engine. Not safe for concurrent use; its methods run the
// engine on a worker of the host and wait. After an error it may only be closed.
type VM struct {
	host    *Host
	key     string // whose turn its slices take: a workflow and a user, or "" for none yet
	js      *quickjs.VM
	entry   quickjs.Value // the prelude's turn function
	handler hostHandler
	counted int64 // bytes this VM stands with in the budget
	expired atomic.Bool
	waits   waits
	slice   sync.Mutex // held while the engine runs; an abandoned VM keeps it
	broken  error
	freed   atomic.Bool

	unwanted atomic.Bool // the copy that save made is to be dropped
}

// newVM makes a VM with the prelude loaded.
func (h *Host) newVM() (*VM, error) {
	if <-h.compiled; h.preludeErr != nil {
		return nil, h.preludeErr
	}
	vm := h.emptyVM()
	h.liveVMs.Add(1)
	if err := vm.do(vm.loadPrelude); err != nil {
		vm.close()
		return nil, fmt.Errorf("loading the prelude: %w", err)
	}
	return vm, nil
}

// emptyVM makes a VM without a prelude, whose engine starts with its first slice.
func (h *Host) emptyVM() *VM {
	vm := &VM{host: h}
	vm.js = quickjs.New(vm.call)
	return vm
}

// begin prepares the engine for a slice on a worker.
func (vm *VM) begin(thread *quickjs.Thread) error {
	if err := vm.js.Use(thread); err != nil {
		return fmt.Errorf("starting the JavaScript engine: %w", err)
	}
	vm.js.SetMemoryLimit(vm.host.memory.limit(vm.counted, vm.host.options.MemoryLimit))
	return nil
}

func (vm *VM) loadPrelude() error {
	vm.js.SetGCThreshold(min(firstCollection, vm.host.options.MemoryLimit/4))
	make, err := vm.js.Load(vm.host.prelude.core)
	if err != nil {
		return err
	}
	host, err := vm.js.HostFunction()
	if err != nil {
		return err
	}
	job, err := vm.js.JobFunction()
	if err != nil {
		return err
	}
	vm.entry, err = vm.js.CallValue(make, host, job)
	vm.js.Free(make)
	vm.js.Free(host)
	vm.js.Free(job)
	return err
}

// do runs fn as one slice and keeps the books: limits before, memory after.
func (vm *VM) do(fn func() error) error {
	if vm.broken != nil {
		return vm.broken
	}
	vm.slice.Lock()
	err := vm.host.slice(vm, vm.host.options.TimeLimit, fn)
	if errors.Is(err, errAbandoned) {
		vm.broken = err
		vm.host.liveVMs.Add(-1)
		vm.freed.Store(true)
		return err
	}
	vm.count()
	vm.slice.Unlock()
	vm.dropCopy()
	if errors.Is(err, ErrClosed) {
		vm.broken = err
		return err
	}
	if err != nil {
		vm.broken = err
		if vm.expired.Load() {
			vm.broken = errTimeLimit
		}
	}
	return vm.broken
}

// count brings the budget up to date.
func (vm *VM) count() {
	used := vm.js.Footprint()
	vm.host.memory.update(vm.counted, used)
	vm.counted = used
}

// turn calls the prelude's entry and runs on until every branch waits.
func (vm *VM) turn(args ...any) (result int, err error) {
	err = vm.do(func() error {
		r, err := vm.js.Call(vm.entry, args...)
		if err != nil {
			return err
		}
		result, _ = r.(int)
		return vm.drain()
	})
	return result, err
}

// drain runs the queued promise callbacks, then reports unhandled rejections.
func (vm *VM) drain() error {
	_, err := vm.js.RunJobs()
	if errors.Is(err, quickjs.ErrEndless) {
		return errEndless
	}
	if err != nil {
		return err
	}
	for _, reason := range vm.js.Unheard() {
		if err == nil {
			_, err = vm.js.Call(vm.entry, "unhandled", reason)
		}
		vm.js.Free(reason)
	}
	return err
}

// call is the one Go function a VM knows.
func (vm *VM) call(args []any) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("host: no operation")
	}
	op, ok := args[0].(string)
	if !ok {
		return nil, errors.New("host: no operation")
	}
	args = args[1:]
	if result, known, err := vm.pureOp(op, args); known {
		return result, err
	}
	if vm.handler == nil {
		return nil, nil
	}
	return vm.handler.hostCall(op, args)
}

// loadChunk evaluates a chunk of the prelude and hands its function to it.
func (vm *VM) loadChunk(name string) (any, error) {
	compiled, ok := vm.host.prelude.chunks[name]
	if !ok {
		return nil, fmt.Errorf("host: no chunk %q", name)
	}
	code, err := compiled()
	if err != nil {
		return nil, err
	}
	f, err := vm.js.Load(code)
	if err != nil {
		return nil, err
	}
	_, err = vm.js.Call(vm.entry, "chunk", name, f)
	vm.js.Free(f)
	return nil, err
}

// evaluate runs a module's bytecode and what it queued. The module stays, about twice as
// large as its bytecode: looking for cycles in it would find none. Random numbers that are
// drawn meanwhile come of the seed.
func (vm *VM) evaluate(code []byte, seed [2]int32) error {
	return vm.do(func() error {
		if _, err := vm.js.Call(vm.entry, "module", int(seed[0]), int(seed[1])); err != nil {
			return err
		}
		vm.js.SetGCThreshold(min(firstCollection+2*int64(len(code)), vm.host.options.MemoryLimit/4))
		v, err := vm.js.Load(code)
		if err != nil {
			return err
		}
		vm.js.Free(v)
		return vm.drain()
	})
}

// save keeps the VM as it is now, with the module loaded, for reset.
func (vm *VM) save() error {
	err := vm.js.Snapshot()
	vm.count()
	return err
}

// resettable reports whether reset is possible: the VM was saved and has not failed.
func (vm *VM) resettable() bool {
	return vm.broken == nil && !vm.freed.Load() && !vm.expired.Load() && vm.js.Resettable()
}

// reset makes the VM what it was when it was saved.
func (vm *VM) reset() error {
	vm.slice.Lock()
	defer vm.slice.Unlock()
	vm.handler = nil
	vm.waits = waits{}
	err := vm.js.Reset()
	vm.count()
	return err
}

// unsave gives up what save kept: at once, or at the end of the slice that is under way
// or waits for its turn. It may be called while another goroutine uses the VM.
func (vm *VM) unsave() {
	vm.unwanted.Store(true)
	vm.dropCopy()
}

// dropCopy does what unsave is for, unless the VM is in use: then its user does at the end.
func (vm *VM) dropCopy() {
	if !vm.unwanted.Load() || !vm.slice.TryLock() {
		return
	}
	defer vm.slice.Unlock()
	if !vm.freed.Load() && vm.unwanted.CompareAndSwap(true, false) {
		vm.js.DropSnapshot()
		vm.count()
	}
}

// close frees the engine's memory. An abandoned VM is freed by its own goroutine
// when that comes back.
func (vm *VM) close() {
	if !vm.freed.CompareAndSwap(false, true) {
		return
	}
	vm.host.liveVMs.Add(-1)
	vm.slice.Lock()
	defer vm.slice.Unlock()
	vm.free()
}

func (vm *VM) free() {
	vm.js.Close()
	vm.host.memory.update(vm.counted, 0)
	vm.counted = 0
}
