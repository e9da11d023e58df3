//go:build !linux

package ballast

func hugePages() {}
