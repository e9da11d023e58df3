package ballast

import (
	"runtime"
	"syscall"
	"unsafe"
)

const (
	startBytes = 24 << 20 // what a start allocates, a little more than Caddy's packages and the gateway need
	hugePage   = 2 << 20
	hugeAdvice = 14 // MADV_HUGEPAGE, see madvise(2)
)

// hugePages asks the kernel to hand out the memory that a start is about to allocate in huge
// pages, where it gives them to those who ask ("madvise", as most distributions set it): some ten
// faults instead of several thousand, which are a tenth of the processor time of a start.
//
// Go maps its heap when it grows, so only memory that it has can be advised about. It is taken
// here, advised about and given back by a collection, of which there is nothing else to do yet.
// Nothing is touched, so that what a start does not need stays with the system.
func hugePages() {
	advise(make([]byte, startBytes))
	runtime.GC()
}

func advise(memory []byte) {
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	end := (begin + uintptr(len(memory))) &^ (hugePage - 1)
	begin = (begin + hugePage - 1) &^ (hugePage - 1)
	// Where the kernel knows no huge pages, everything stays as it was.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, begin, end-begin, hugeAdvice)
	runtime.KeepAlive(memory)
}
