package quickjs

import (
	"fmt"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/libquickjs"
)

// guard notices a panic that goes through the engine. The VM cannot be used again.
func (vm *VM) guard(done *bool) {
	if !*done {
		vm.unsound = true
		return
	}
	if p := vm.panicked; p != nil {
		vm.panicked = nil
		vm.unsound = true
		panic(p)
	}
}

// Bytecode names the bytecode that Compile writes and Load reads, which another version of
// the engine may misunderstand.
func Bytecode() string {
	one := uint16(1)
	return fmt.Sprintf("QuickJS %s, bytecode %d, %d atoms, %d opcodes, first byte %d",
		lib.MCONFIG_VERSION, lib.MBC_VERSION, lib.EJS_ATOM_END, lib.EOP_COUNT, *(*byte)(unsafe.Pointer(&one)))
}

// Load evaluates bytecode and returns what its last expression gives. Errors are *Error.
func (vm *VM) Load(code []byte) (v Value, err error) {
	var done bool
	defer vm.guard(&done)
	tls := vm.thread.tls
	p := libc.Xmalloc(tls, libc.Tsize_t(len(code)))
	if p == 0 {
		done = true
		return v, ErrMemory
	}
	copy(memory(p, uintptr(len(code))), code)
	object := lib.XJS_ReadObject(tls, vm.context, p, lib.Tsize_t(len(code)), lib.MJS_READ_OBJ_BYTECODE)
	libc.Xfree(tls, p)
	if !isException(object) {
		object = lib.XJS_EvalFunction(tls, vm.context, object)
	}
	if isException(object) {
		err = vm.thrown()
	}
	done = true
	return Value{object}, err
}

// Compile makes bytecode of a script. Without debug information it is half as long,
// and errors have no places. Errors are *Error.
func (vm *VM) Compile(source string, debug bool) (code []byte, err error) {
	if !debug {
		lib.XJS_SetStripInfo(vm.thread.tls, vm.runtime, lib.MJS_STRIP_SOURCE|lib.MJS_STRIP_DEBUG)
	}
	return vm.compile(source, false)
}

// CompileWrapped is Compile, with debug information, of a script that calls a function
// around all the rest, as bundlers make it. The engine keeps the text of each function for
// toString, and so all of the script once more; CompileWrapped leaves out that of the
// functions that stand outermost.
func (vm *VM) CompileWrapped(source string) (code []byte, err error) {
	return vm.compile(source, true)
}

func (vm *VM) compile(source string, wrapped bool) (code []byte, err error) {
	var done bool
	defer vm.guard(&done)
	tls := vm.thread.tls
	source = validUTF8(source)
	p := vm.thread.cString(source)
	if p == 0 {
		done = true
		return nil, ErrMemory
	}
	flags := int32(lib.MJS_EVAL_TYPE_GLOBAL | lib.MJS_EVAL_FLAG_COMPILE_ONLY)
	object := lib.XJS_Eval(tls, vm.context, p, lib.Tsize_t(len(source)), pointer(&scriptName[0]), flags)
	if isException(object) {
		err = vm.thrown()
		done = true
		return nil, err
	}
	if wrapped {
		dropOutermostText(object)
	}
	code, err = vm.bytecode(object)
	lib.XFreeValue(tls, vm.context, object)
	done = true
	return code, err
}

// dropOutermostText makes the functions right below a compiled script forget their text.
func dropOutermostText(script lib.TJSValue) {
	f := functionAt(script)
	for i := range int(f.Fcpool_count) {
		if v := *valueAt(f.Fcpool, i); tagOf(v) == lib.EJS_TAG_FUNCTION_BYTECODE {
			functionAt(v).Fdebug.Fsource_len = 0
		}
	}
}

// functionAt is a compiled function.
func functionAt(v lib.TJSValue) *lib.TJSFunctionBytecode {
	p := objectOf(v)
	return *(**lib.TJSFunctionBytecode)(unsafe.Pointer(&p))
}

func (vm *VM) bytecode(object lib.TJSValue) ([]byte, error) {
	tls := vm.thread.tls
	size := int(unsafe.Sizeof(lib.Tsize_t(0)))
	length := tls.Alloc(size)
	defer tls.Free(size)
	p := lib.XJS_WriteObject(tls, vm.context, length, object, lib.MJS_WRITE_OBJ_BYTECODE)
	if p == 0 {
		return nil, vm.thrown()
	}
	n := **(**lib.Tsize_t)(unsafe.Pointer(&length))
	code := append([]byte(nil), memory(p, uintptr(n))...)
	lib.Xjs_free(tls, vm.context, p)
	return code, nil
}

// Call calls a function with strings, numbers, bools, nil, Undefined or Values, and
// returns what it returns as such; objects are Undefined. Errors are *Error.
func (vm *VM) Call(f Value, args ...any) (any, error) {
	v, err := vm.CallValue(f, args...)
	if err != nil {
		return nil, err
	}
	x, ok := vm.fromJS(v.v)
	if !ok {
		err = vm.thrown()
	}
	vm.Free(v)
	return x, err
}

// CallValue is Call with a result that stays in the engine; the caller frees it.
func (vm *VM) CallValue(f Value, args ...any) (result Value, err error) {
	var done bool
	defer vm.guard(&done)
	tls := vm.thread.tls
	each := unsafe.Sizeof(lib.TJSValue(undefined()))
	size := (len(args) + 1) * int(each)
	argv := tls.Alloc(size)
	defer tls.Free(size)
	n := 0
	for ; n < len(args); n++ {
		v := vm.toJS(args[n])
		if isException(v) {
			err = vm.thrown()
			break
		}
		*valueAt(argv, n) = v
	}
	if err == nil {
		result.v = lib.XJS_Call(tls, vm.context, f.v, undefined(), int32(n), argv)
	}
	for i := range n {
		lib.XFreeValue(tls, vm.context, *valueAt(argv, i))
	}
	if err == nil && isException(result.v) {
		err = vm.thrown()
	}
	done = true
	return result, err
}

// valueAt is the i-th of the values at an address.
func valueAt(p uintptr, i int) *lib.TJSValue {
	p += uintptr(i) * unsafe.Sizeof(lib.TJSValue(undefined()))
	return *(**lib.TJSValue)(unsafe.Pointer(&p))
}

// Free gives a value up.
func (vm *VM) Free(v Value) { lib.XFreeValue(vm.thread.tls, vm.context, v.v) }

// HostFunction makes the JavaScript function that calls the VM's Host.
func (vm *VM) HostFunction() (Value, error) {
	call := hostCall
	v := lib.XJS_NewCFunction2(vm.thread.tls, vm.context, funcPointer(&call), 0, 1, lib.EJS_CFUNC_generic, 0)
	if isException(v) {
		return Value{}, vm.thrown()
	}
	return Value{v}, nil
}

// hostCall is what the engine calls for a host function.
func hostCall(_ *libc.TLS, ctx uintptr, _ lib.TJSValue, argc int32, argv uintptr) (result lib.TJSValue) {
	vm := vmAt((*(**lib.TJSContext)(unsafe.Pointer(&ctx))).Fuser_opaque)
	defer func() {
		// A panic must not unwind the engine: it stops the script and goes on behind it.
		if p := recover(); p != nil {
			vm.panicked = p
			result = vm.throwUncatchable(fmt.Sprintf("panic in the host function: %v", p))
		}
	}()
	args := vm.args
	vm.args = nil // for calls that this one leads to
	args = args[:0]
	for i := range int(argc) {
		x, ok := vm.fromJS(*valueAt(argv, i))
		if !ok {
			return exception()
		}
		args = append(args, x)
	}
	x, err := vm.host(args)
	clear(args)
	vm.args = args
	switch {
	case vm.interrupted.Load():
		return vm.throwUncatchable("interrupted")
	case err != nil:
		return vm.throw(lib.XJS_ThrowTypeError, err.Error())
	}
	return vm.toJS(x)
}
