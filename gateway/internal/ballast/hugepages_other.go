//go:build !linux

package ballast

const startBytes = 0

func hugePages([]byte) {}

// Started does something on Linux only.
func Started() {}
