package quickjs

import (
	"bytes"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"

	lib "modernc.org/libquickjs"
)

// Value is a value of the engine that Go holds. It belongs to one VM and is valid
// until Free, Close, or a Reset to a snapshot that is older than the value.
type Value struct{ v lib.TJSValue }

// Undefined is JavaScript's undefined; nil is null.
type Undefined struct{}

func undefined() lib.TJSValue { return makeValue(lib.EJS_TAG_UNDEFINED, 0) }
func exception() lib.TJSValue { return makeValue(lib.EJS_TAG_EXCEPTION, 0) }

func isException(v lib.TJSValue) bool { return tagOf(v) == lib.EJS_TAG_EXCEPTION }

// toJS makes a value the engine's; the caller frees it. Strings, booleans, integers,
// floats, nil, Undefined and Values are understood, everything else is undefined.
func (vm *VM) toJS(x any) lib.TJSValue {
	switch x := x.(type) {
	case nil:
		return makeValue(lib.EJS_TAG_NULL, 0)
	case bool:
		if x {
			return makeValue(lib.EJS_TAG_BOOL, 1)
		}
		return makeValue(lib.EJS_TAG_BOOL, 0)
	case int:
		return integer(int64(x))
	case int32:
		return integer(int64(x))
	case int64:
		return integer(x)
	case float64:
		return makeFloat(x)
	case string:
		return vm.newString(x)
	case Value:
		return lib.XDupValue(vm.thread.tls, vm.context, x.v)
	}
	return undefined()
}

func integer(n int64) lib.TJSValue {
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		return makeValue(lib.EJS_TAG_INT, uint64(uint32(n)))
	}
	return makeFloat(float64(n))
}

func (vm *VM) newString(s string) lib.TJSValue {
	s = validUTF8(s)
	p := vm.thread.cString(s)
	if p == 0 {
		return lib.XJS_ThrowOutOfMemory(vm.thread.tls, vm.context)
	}
	return lib.XJS_NewStringLen(vm.thread.tls, vm.context, p, lib.Tsize_t(len(s)))
}

// fromJS makes a value Go's and leaves the engine's alone. Objects, symbols and
// functions are Undefined. ok is false when memory ran out, with the exception pending.
func (vm *VM) fromJS(v lib.TJSValue) (x any, ok bool) {
	switch tagOf(v) {
	case lib.EJS_TAG_STRING, lib.EJS_TAG_STRING_ROPE:
		return vm.text(v)
	case lib.EJS_TAG_INT:
		return int(intOf(v)), true
	case lib.EJS_TAG_FLOAT64:
		return floatOf(v), true
	case lib.EJS_TAG_BOOL:
		return intOf(v) != 0, true
	case lib.EJS_TAG_NULL:
		return nil, true
	}
	return Undefined{}, true
}

// text converts a value as String() does, which may run JavaScript.
func (vm *VM) text(v lib.TJSValue) (string, bool) {
	tls := vm.thread.tls
	size := int(unsafe.Sizeof(lib.Tsize_t(0)))
	length := tls.Alloc(size)
	defer tls.Free(size)
	p := lib.XJS_ToCStringLen2(tls, vm.context, length, v, 0)
	if p == 0 {
		return "", false
	}
	n := **(**lib.Tsize_t)(unsafe.Pointer(&length))
	s := wholeRunes(memory(p, uintptr(n)))
	lib.XJS_FreeCString(tls, vm.context, p)
	return s, true
}

// validUTF8 replaces each byte that is not part of a character, as encoding/json does.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// wholeRunes copies text of the engine, which may hold halves of surrogate pairs; each
// becomes the replacement character, as everywhere else in Go.
func wholeRunes(b []byte) string {
	const lead = 0xed // of the three bytes ED A0..BF 80..BF, which no other character has
	if bytes.IndexByte(b, lead) < 0 {
		return string(b)
	}
	out := bytes.Clone(b)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == lead && out[i+1] >= 0xa0 {
			copy(out[i:], "\uFFFD")
			i += 2
		}
	}
	return string(out)
}
