package quickjs

import (
	"golang.org/x/sys/unix"
)

// backPages makes pages resident that will be written to soon. Kernels before 5.14 refuse,
// and bring each in when it is touched.
func backPages(p, size uintptr) {
	_ = unix.Madvise(memory(p, size), unix.MADV_POPULATE_WRITE)
}
