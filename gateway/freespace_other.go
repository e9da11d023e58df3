//go:build !linux && !darwin && !freebsd

package gateway

// freeSpace is not known here.
func freeSpace(string) int64 { return -1 }
