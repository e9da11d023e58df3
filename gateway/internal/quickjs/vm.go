package quickjs

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/libquickjs"
)

// Errors of a VM.
var (
	// ErrMemory says that the operating system has no memory for a VM.
	ErrMemory = errors.New("quickjs: no memory")
	// ErrBusy says that a VM cannot be saved or reset: JavaScript is running or jobs wait.
	ErrBusy = errors.New("quickjs: the VM is not at rest")
	// ErrEndless says that promise callbacks kept making more of themselves.
	ErrEndless = errors.New("quickjs: promise callbacks that never end")
)

// Host serves the calls of a VM's host function. Its arguments are strings, ints,
// float64s, bools, nil (null) or Undefined; it answers with one of these. An error is
// thrown as a TypeError. It runs on the goroutine of the call into the VM.
type Host func(args []any) (any, error)

// VM is one JavaScript world with memory of its own. Not safe for concurrent use, but
// for Interrupt. Methods that run the engine do so on the thread that Use named.
type VM struct {
	memory      arena
	runtime     uintptr
	context     uintptr
	thread      *Thread
	host        Host
	args        []any // for the arguments of the next host call
	panicked    any   // what a host function panicked with, on its way around the engine
	unheard     rejections
	interrupted atomic.Bool
	unsound     bool // a panic went through the engine
	maxJobs     int  // of one RunJobs
}

// New makes a VM; the engine starts with the first Use.
//
// It is not inlined, so that the VM lies on the heap: the engine keeps its address, and
// what lies on a stack moves with it.
//
//go:noinline
func New(host Host) *VM { return &VM{host: host, maxJobs: maxJobs} }

// Use makes the VM run on a thread from now on. The first time it starts the engine,
// which fails with ErrMemory only.
func (vm *VM) Use(t *Thread) error {
	vm.thread = t
	if vm.runtime != 0 {
		return nil
	}
	functions := mallocFunctions()
	size := int(unsafe.Sizeof(functions))
	table := t.tls.Alloc(size)
	defer t.tls.Free(size)
	**(**lib.TJSMallocFunctions)(unsafe.Pointer(&table)) = functions
	if vm.runtime = lib.XJS_NewRuntime2(t.tls, table, vm.address()); vm.runtime != 0 {
		vm.context = lib.XJS_NewContext(t.tls, vm.runtime)
	}
	if vm.context == 0 {
		vm.Close()
		return ErrMemory
	}
	handler := interruptHandler
	lib.XJS_SetInterruptHandler(t.tls, vm.runtime, funcPointer(&handler), vm.address())
	lib.XJS_SetContextOpaque(t.tls, vm.context, vm.address())
	tracker := trackRejection
	lib.XJS_SetHostPromiseRejectionTracker(t.tls, vm.runtime, funcPointer(&tracker), vm.address())
	return nil
}

// address is how the engine names the VM, which lies on Go's heap and so does not move;
// whoever calls into the engine holds the VM meanwhile.
func (vm *VM) address() uintptr { return uintptr(unsafe.Pointer(vm)) }

func vmAt(p uintptr) *VM { return *(**VM)(unsafe.Pointer(&p)) }

func (vm *VM) rt() *lib.TJSRuntime { return *(**lib.TJSRuntime)(unsafe.Pointer(&vm.runtime)) }

// Close returns the VM's memory. No call may be under way.
func (vm *VM) Close() {
	vm.memory.destroy()
	vm.unheard = rejections{}
	vm.runtime, vm.context, vm.thread = 0, 0, nil
}

// SetMemoryLimit bounds the bytes in use. The engine needs some to say that there are
// no more, so that very small limits are raised. Touched, and kept for blocks of sizes
// that were in use once, may be twice as many and 1 MiB.
func (vm *VM) SetMemoryLimit(bytes int64) {
	bytes = max(bytes, 128<<10)
	vm.rt().Fmalloc_ctx.Fmalloc_state.Fmalloc_limit = lib.Tsize_t(bytes)
	vm.memory.most = 0
	if bytes <= math.MaxInt/4 {
		vm.memory.most = 2*uintptr(bytes) + 4*chunkSize
	}
}

// SetGCThreshold sets the bytes in use at which the engine first looks for cycles.
func (vm *VM) SetGCThreshold(bytes int64) {
	vm.rt().Fmalloc_gc_threshold = lib.Tsize_t(bytes)
}

// Footprint is the memory that the VM has touched, its snapshot included, in bytes.
func (vm *VM) Footprint() int64 { return int64(vm.memory.footprint()) }

// Interrupt stops the JavaScript that runs now, and any that is started later: an
// interrupted VM can only be closed. Safe for concurrent use.
func (vm *VM) Interrupt() { vm.interrupted.Store(true) }

func interruptHandler(_ *libc.TLS, _, opaque uintptr) int32 {
	if vmAt(opaque).interrupted.Load() {
		return 1
	}
	return 0
}

// atRest reports whether nothing of the engine's state is outside of the arena.
func (vm *VM) atRest() bool {
	jobs := &vm.rt().Fjob_list
	return !vm.unsound && !vm.interrupted.Load() && vm.rt().Fcurrent_stack_frame == 0 && vm.panicked == nil &&
		jobs.Fnext == uintptr(unsafe.Pointer(jobs))
}

// Snapshot keeps a copy of the VM as it is, for Reset.
func (vm *VM) Snapshot() error {
	if !vm.atRest() {
		return ErrBusy
	}
	return vm.memory.save()
}

// DropSnapshot gives the copy up; the VM can no longer be reset.
func (vm *VM) DropSnapshot() { vm.memory.drop() }

// Resettable reports whether Reset is possible but for jobs that still wait: there is a
// snapshot, and the VM was not interrupted and did not fail.
func (vm *VM) Resettable() bool {
	return vm.runtime != 0 && vm.memory.saved != nil && !vm.unsound && !vm.interrupted.Load() && vm.panicked == nil && vm.rt().Fcurrent_stack_frame == 0
}

// Reset makes the VM what it was when Snapshot was called. Only the engine's own random
// numbers (Math.random) start anew. Jobs that wait and rejections that nobody has asked for
// are forgotten. It needs no thread.
func (vm *VM) Reset() error {
	if !vm.Resettable() {
		return ErrBusy
	}
	vm.memory.restore()
	p := vm.context
	(*(**lib.TJSContext)(unsafe.Pointer(&p))).Frandom_state = lib.Tuint64_t(rand.Uint64() | 1)
	clear(vm.args)
	vm.unheard.clear()
	runtime.KeepAlive(vm)
	return nil
}
