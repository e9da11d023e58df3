package quickjs

import (
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/libquickjs"
)

// maxJobs bounds one RunJobs.
const maxJobs = 1 << 20

// RunJobs runs queued promise callbacks until there are no more and returns their
// number. The first exception of one is the error; the others still run. An interrupt
// leaves the rest waiting.
func (vm *VM) RunJobs() (n int, err error) {
	var done bool
	defer vm.guard(&done)
	for ; n < vm.maxJobs; n++ {
		r := lib.XJS_ExecutePendingJob(vm.thread.tls, vm.runtime, 0)
		if r == 0 {
			done = true
			return n, err
		}
		if r < 0 {
			if e := vm.thrown(); err == nil {
				err = e
			}
		}
		if vm.panicked != nil || vm.interrupted.Load() {
			if err == nil {
				err = &Error{Text: "InternalError: interrupted", Name: "InternalError", Message: "interrupted"}
			}
			done = true
			return n + 1, err
		}
	}
	if err == nil {
		err = ErrEndless
	}
	done = true
	return n, err
}

// JobFunction makes the JavaScript function of two arguments that queues a job: a call of
// the first with the second. It takes its turn among the callbacks of promises as if a
// promise that is fulfilled had been told to call it, and makes none. What it throws is an
// error of RunJobs.
func (vm *VM) JobFunction() (Value, error) {
	call := queueJob
	v := lib.XJS_NewCFunction2(vm.thread.tls, vm.context, funcPointer(&call), 0, 2, lib.EJS_CFUNC_generic, 0)
	if isException(v) {
		return Value{}, vm.thrown()
	}
	return Value{v}, nil
}

// queueJob is what the engine calls for a job function. It fills up missing arguments.
func queueJob(tls *libc.TLS, ctx uintptr, _ lib.TJSValue, _ int32, argv uintptr) lib.TJSValue {
	job := runJob
	if lib.XJS_EnqueueJob(tls, ctx, funcPointer(&job), 2, argv) < 0 {
		return exception()
	}
	return undefined()
}

func runJob(tls *libc.TLS, ctx uintptr, _ int32, argv uintptr) lib.TJSValue {
	return lib.XJS_Call(tls, ctx, *valueAt(argv, 0), undefined(), 1, argv+unsafe.Sizeof(lib.TJSValue(undefined())))
}
