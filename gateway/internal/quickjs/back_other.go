//go:build !linux

package quickjs

// backPages leaves it to the system to bring pages in when they are touched.
func backPages(_, _ uintptr) {}
