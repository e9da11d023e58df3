//go:build unix

package host

const supported = true
