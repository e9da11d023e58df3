package quickjs

import (
	"unsafe"

	lib "modernc.org/libquickjs"

	"modernc.org/libc"
)

// Error is an exception that no JavaScript caught.
type Error struct {
	Text    string // what String() makes of it
	Name    string // of an Error object
	Message string
	Stack   string // a line for each frame
}

func (e *Error) Error() string { return e.Text }

// C strings; constants of the translated code.
var (
	nameProperty    = [...]byte{'n', 'a', 'm', 'e', 0}
	messageProperty = [...]byte{'m', 'e', 's', 's', 'a', 'g', 'e', 0}
	stackProperty   = [...]byte{'s', 't', 'a', 'c', 'k', 0}
	formatString    = [...]byte{'%', 's', 0}
	scriptName      = [...]byte{'<', 'e', 'v', 'a', 'l', '>', 0}
)

func pointer(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }

// thrown takes the pending exception. Reading it may run JavaScript (getters) and may
// fail; what cannot be read stays empty.
func (vm *VM) thrown() error {
	tls, ctx := vm.thread.tls, vm.context
	v := lib.XJS_GetException(tls, ctx)
	defer lib.XFreeValue(tls, ctx, v)
	e := &Error{
		Name:    vm.property(v, &nameProperty[0]),
		Message: vm.property(v, &messageProperty[0]),
		Stack:   vm.property(v, &stackProperty[0]),
	}
	var ok bool
	if e.Text, ok = vm.text(v); !ok {
		vm.dropException()
	}
	return e
}

func (vm *VM) property(v lib.TJSValue, name *byte) string {
	tls, ctx := vm.thread.tls, vm.context
	p := lib.XJS_GetPropertyStr(tls, ctx, v, pointer(name))
	defer lib.XFreeValue(tls, ctx, p)
	switch tagOf(p) {
	case lib.EJS_TAG_STRING, lib.EJS_TAG_STRING_ROPE:
		s, ok := vm.text(p)
		if !ok {
			vm.dropException()
		}
		return s
	case lib.EJS_TAG_EXCEPTION:
		vm.dropException()
	}
	return ""
}

func (vm *VM) dropException() {
	lib.XFreeValue(vm.thread.tls, vm.context, lib.XJS_GetException(vm.thread.tls, vm.context))
}

// throw throws an error with a message; of a long one the engine keeps the beginning.
func (vm *VM) throw(kind func(tls *libc.TLS, ctx, format, args uintptr) lib.TJSValue, message string) lib.TJSValue {
	tls := vm.thread.tls
	p := vm.thread.cString(validUTF8(message))
	if p == 0 {
		return lib.XJS_ThrowOutOfMemory(tls, vm.context)
	}
	const size = 16
	args := tls.Alloc(size)
	defer tls.Free(size)
	return kind(tls, vm.context, pointer(&formatString[0]), libc.VaList(args+8, p))
}

// throwUncatchable stops the running JavaScript; none of its catch and finally blocks
// is run.
func (vm *VM) throwUncatchable(message string) lib.TJSValue {
	v := vm.throw(lib.XJS_ThrowInternalError, message)
	lib.XJS_SetUncatchableException(vm.thread.tls, vm.context, 1)
	return v
}
