//go:build linux || darwin || freebsd

package gateway

import "golang.org/x/sys/unix"

// freeSpace is what an ordinary user may still write below a folder, in bytes; -1 when
// that is not known.
func freeSpace(folder string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(folder, &st) != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert,gosec // types differ between systems
}
