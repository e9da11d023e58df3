package jsmod

import (
	"errors"
	"fmt"
	"sync/atomic"

	"modernc.org/quickjs"
)

// Reasons for which a VM cannot go on.
var (
	errTimeLimit = errors.New("the time limit passed")
	errAbandoned = errors.New("the VM was abandoned")
	errEndless   = errors.New("promise callbacks that never end")
)

// firstCollection is the heap at which a VM first looks for cycles. The engine's
// default lies below what the prelude alone needs, so that short runs would pay for
// collections that find nothing.
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
	seed    [2]int32 // of random numbers drawn while the module loads
	runtime uintptr
	counted int64 // bytes this VM stands with in the budget
	expired atomic.Bool
	waits   waits
	broken  error
	freed   atomic.Bool
}

// newVM makes a VM with the prelude loaded.
func (h *Host) newVM(seed [2]int32) (*VM, error) {
	vm := &VM{host: h, seed: seed}
	js, err := quickjs.NewVM()
	if err != nil {
		return nil, fmt.Errorf("starting the JavaScript engine: %w", err)
	}
	vm.js = js
	vm.runtime = runtimePointer(js)
	js.SetGCThreshold(uintptr(min(firstCollection, h.options.MemoryLimit/4)))
	h.liveVMs.Add(1)
	if err := vm.do(vm.loadPrelude); err != nil {
		vm.close()
		return nil, fmt.Errorf("loading the prelude: %w", err)
	}
	return vm, nil
}

func (vm *VM) loadPrelude() error {
	if err := vm.js.RegisterHostFunc("__host", vm.call); err != nil {
		return err
	}
	make, err := vm.js.EvalBytecodeValue(vm.host.prelude.core)
	if err != nil {
		return err
	}
	defer make.Free()
	global := vm.js.GlobalObject()
	defer global.Free()
	name, err := vm.js.NewAtom("__host")
	if err != nil {
		return err
	}
	host, err := global.GetPropertyValue(name)
	if err != nil {
		return err
	}
	defer host.Free()
	if _, err := vm.js.Eval("delete globalThis.__host", quickjs.EvalGlobal); err != nil {
		return err
	}
	vm.entry, err = make.CallValue(quickjs.UndefinedValue, host)
	return err
}

// do runs fn as one slice and keeps the books: limits before, memory after.
func (vm *VM) do(fn func() error) error {
	if vm.broken != nil {
		return vm.broken
	}
	vm.js.SetMemoryLimit(uintptr(vm.host.memory.limit(vm.counted, vm.host.options.MemoryLimit)))
	err := vm.host.slice(vm, vm.host.options.TimeLimit, fn)
	switch {
	case errors.Is(err, ErrClosed):
		vm.broken = err
		return err
	case errors.Is(err, errAbandoned):
		vm.broken = err
		vm.host.liveVMs.Add(-1)
		vm.freed.Store(true)
		return err
	}
	used := heapBytes(vm.runtime)
	vm.host.memory.update(vm.counted, used)
	vm.counted = used
	if err != nil {
		vm.broken = err
		if vm.expired.Load() {
			vm.broken = errTimeLimit
		}
	}
	return vm.broken
}

// turn calls the prelude's entry and runs on until every branch waits.
func (vm *VM) turn(args ...any) (result int, err error) {
	err = vm.do(func() error {
		r, err := vm.entry.Call(quickjs.UndefinedValue, args...)
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
	n, err := vm.js.ExecutePendingJobs()
	if err != nil {
		var jsError *quickjs.Error
		if !errors.As(err, &jsError) {
			return errEndless
		}
		return err
	}
	if n == 0 {
		return nil
	}
	_, err = vm.entry.Call(quickjs.UndefinedValue, "rejections")
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
	code, ok := vm.host.prelude.chunks[name]
	if !ok {
		return nil, fmt.Errorf("host: no chunk %q", name)
	}
	f, err := vm.js.EvalBytecodeValue(code)
	if err != nil {
		return nil, err
	}
	defer f.Free()
	_, err = vm.entry.Call(quickjs.UndefinedValue, "chunk", name, f)
	return nil, err
}

// evaluate runs a module's bytecode and what it queued.
func (vm *VM) evaluate(code []byte) error {
	return vm.do(func() error {
		v, err := vm.js.EvalBytecodeValue(code)
		if err != nil {
			return err
		}
		v.Free()
		return vm.drain()
	})
}

// close frees the engine's memory. An abandoned VM is freed by its own goroutine
// when that comes back.
func (vm *VM) close() {
	if !vm.freed.CompareAndSwap(false, true) {
		return
	}
	vm.host.liveVMs.Add(-1)
	vm.free()
}

func (vm *VM) free() {
	defer func() {
		// An engine that panicked may panic again; its memory is then lost.
		_ = recover()
		vm.host.memory.update(vm.counted, 0)
		vm.counted = 0
	}()
	vm.entry.Free()
	_ = vm.js.Close()
}
