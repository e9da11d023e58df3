package quickjs

import (
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/libquickjs"
)

// The functions that the engine calls for memory. State is the engine's account of one
// runtime; its opaque word leads to the VM.

func jsMalloc(_ *libc.TLS, state uintptr, size lib.Tsize_t) uintptr {
	s := mallocState(state)
	if s.Fmalloc_size+size > s.Fmalloc_limit {
		return 0
	}
	a := &vmAt(s.Fopaque).memory
	p := a.alloc(uintptr(size))
	if p == 0 {
		return 0
	}
	s.Fmalloc_count++
	s.Fmalloc_size += lib.Tsize_t(a.sizeOf(p) + headerSize)
	return p
}

func jsFree(_ *libc.TLS, state uintptr, p uintptr) {
	if p == 0 {
		return
	}
	s := mallocState(state)
	a := &vmAt(s.Fopaque).memory
	s.Fmalloc_count--
	s.Fmalloc_size -= lib.Tsize_t(a.sizeOf(p) + headerSize)
	a.release(p)
}

func jsRealloc(tls *libc.TLS, state uintptr, p uintptr, size lib.Tsize_t) uintptr {
	switch {
	case p == 0 && size == 0:
		return 0
	case p == 0:
		return jsMalloc(tls, state, size)
	case size == 0:
		jsFree(tls, state, p)
		return 0
	}
	a := &vmAt(mallocState(state).Fopaque).memory
	old := a.sizeOf(p)
	if uintptr(size) <= old && uintptr(size) > old/2 {
		return p
	}
	q := jsMalloc(tls, state, size)
	if q == 0 {
		if uintptr(size) <= old {
			return p
		}
		return 0
	}
	n := min(old, uintptr(size))
	copy(memory(q, n), memory(p, n))
	jsFree(tls, state, p)
	return q
}

func jsUsableSize(_ *libc.TLS, p uintptr) lib.Tsize_t {
	if p == 0 {
		return 0
	}
	return lib.Tsize_t(*header(p) >> 8)
}

func mallocState(p uintptr) *lib.TJSMallocState {
	return *(**lib.TJSMallocState)(unsafe.Pointer(&p))
}

// mallocFunctions is the table that a new runtime copies.
func mallocFunctions() lib.TJSMallocFunctions {
	var (
		malloc  = jsMalloc
		free    = jsFree
		realloc = jsRealloc
		usable  = jsUsableSize
	)
	return lib.TJSMallocFunctions{
		Fjs_malloc: funcPointer(&malloc), Fjs_free: funcPointer(&free), Fjs_realloc: funcPointer(&realloc), Fjs_malloc_usable_size: funcPointer(&usable),
	}
}

// funcPointer is a function as the translated C code keeps it: the pointer that a Go
// function value consists of. F points to a variable holding a function declared at
// package level, whose value never moves.
func funcPointer[F any](f *F) uintptr { return *(*uintptr)(unsafe.Pointer(f)) }
