package ballast

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// startBytes is what a start allocates: Caddy's packages, above all, and the gateway.
const startBytes = 24 << 20

const hugePage = 2 << 20

// See madvise(2).
const (
	adviseHuge   = 14 // MADV_HUGEPAGE
	adviseNoHuge = 15 // MADV_NOHUGEPAGE
)

// advised is the memory that huge pages were asked for, in whole ones.
var advised struct{ begin, end uintptr }

// hugePages asks the kernel to hand out the memory that a start is about to allocate in huge
// pages, where it gives them to those who ask ("madvise"): some ten faults instead of several
// thousand, which are a tenth of the processor time of a start. Where none is free, the kernel may
// take the time to make one; where it knows none, or gives them always, a start is as it was.
//
// Go maps its heap when it grows, so only memory that it has can be advised about: some is taken
// before, and given back here by a collection that has nothing else to do yet. Nothing of it is
// touched, so that what a start does not need stays with the system.
func hugePages(memory []byte) {
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	advised.end = (begin + uintptr(len(memory))) &^ (hugePage - 1)
	advised.begin = (begin + hugePage - 1) &^ (hugePage - 1)
	advise(adviseHuge)
	runtime.KeepAlive(memory)
	memory = nil
	runtime.GC()
}

// Started takes the wish for huge pages back; those that are there stay. Without it, the kernel
// would fill up the memory that is later given back to it, as long as a page of it is in use.
// That memory gets no further ones then, not even where the kernel gives them always.
// Safe for concurrent use.
func Started() { withdraw() }

var withdraw = sync.OnceFunc(func() { advise(adviseNoHuge) })

func advise(how uintptr) {
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, advised.begin, advised.end-advised.begin, how)
}
