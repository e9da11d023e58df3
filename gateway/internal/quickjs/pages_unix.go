//go:build unix

package quickjs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapPages returns size bytes of zeroed memory outside of Go's heap, which become
// resident when they are first written to.
func mapPages(size uintptr) (uintptr, error) {
	p, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	return uintptr(p), err
}

func unmapPages(p, size uintptr) { _ = unix.MunmapPtr(*(*unsafe.Pointer)(unsafe.Pointer(&p)), size) }
