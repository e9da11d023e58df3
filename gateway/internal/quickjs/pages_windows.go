package quickjs

import "golang.org/x/sys/windows"

// mapPages returns size bytes of zeroed memory outside of Go's heap, which become
// resident when they are first written to.
func mapPages(size uintptr) (uintptr, error) {
	return windows.VirtualAlloc(0, size, windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
}

func unmapPages(p, _ uintptr) { _ = windows.VirtualFree(p, 0, windows.MEM_RELEASE) }
