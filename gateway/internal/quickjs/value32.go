//go:build 386 || arm

package quickjs

import (
	"math"

	lib "modernc.org/libquickjs"
)

// A value is 64 bits with the tag in the upper half. Numbers are shifted out of the
// way of the tags by floatShift.
const floatShift = uint64(0x7ff80000-lib.EJS_TAG_FIRST+1) << 32

func makeValue(tag int32, payload uint64) lib.TJSValue {
	return lib.TJSValue(uint64(uint32(tag))<<32 | uint64(uint32(payload)))
}

func makeFloat(f float64) lib.TJSValue {
	bits := math.Float64bits(f)
	if math.IsNaN(f) {
		bits = 0x7ff8000000000000 // there are many, and the engine knows one
	}
	return lib.TJSValue(bits - floatShift)
}

func tagOf(v lib.TJSValue) int32 {
	tag := int32(uint64(v) >> 32)
	if first := int32(lib.EJS_TAG_FIRST); uint32(tag-first) >= uint32(lib.EJS_TAG_FLOAT64-first) {
		return lib.EJS_TAG_FLOAT64
	}
	return tag
}

func intOf(v lib.TJSValue) int32 { return int32(uint32(v)) }

func floatOf(v lib.TJSValue) float64 { return math.Float64frombits(uint64(v) + floatShift) }

// objectOf is the address of an object.
func objectOf(v lib.TJSValue) uintptr { return uintptr(uint32(v)) }
