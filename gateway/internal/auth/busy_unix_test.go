//go:build !windows

package auth

import "syscall"

const errBusy = syscall.EBUSY
