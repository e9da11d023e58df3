//go:build !(386 || arm)

package quickjs

import (
	"math"
	"unsafe"

	lib "modernc.org/libquickjs"
)

// A value is a word and a tag.

func makeValue(tag int32, payload uint64) (v lib.TJSValue) {
	*(*uint64)(unsafe.Pointer(&v.Fu)) = payload
	v.Ftag = lib.Tint64_t(tag)
	return v
}

func makeFloat(f float64) lib.TJSValue { return makeValue(lib.EJS_TAG_FLOAT64, math.Float64bits(f)) }

func tagOf(v lib.TJSValue) int32 { return int32(v.Ftag) }

func intOf(v lib.TJSValue) int32 { return int32(*(*uint64)(unsafe.Pointer(&v.Fu))) }

func floatOf(v lib.TJSValue) float64 { return math.Float64frombits(*(*uint64)(unsafe.Pointer(&v.Fu))) }

// objectOf is the address of an object.
func objectOf(v lib.TJSValue) uintptr { return uintptr(*(*uint64)(unsafe.Pointer(&v.Fu))) }
