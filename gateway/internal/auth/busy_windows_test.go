package auth

import "syscall"

const errBusy = syscall.ERROR_ACCESS_DENIED
