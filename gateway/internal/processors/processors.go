// Package processors keeps a processor of Go's free for what waits in system calls.
package processors

import (
	"os"
	"runtime"
	"sync"
)

var spare struct {
	mu    sync.Mutex
	users int
	set   int // GOMAXPROCS with the spare one; 0: there is none
}

// Spare raises GOMAXPROCS by one until release was called as often as Spare. A commit waits
// for the disk in a system call, and the Go scheduler leaves a goroutine there its processor
// until its monitor looks, 20 µs to 10 ms later (sysmon in runtime/proc.go): with few of
// them, whoever could run meanwhile waits, too.
//
// It does nothing where the environment sets GOMAXPROCS, nor where it is not the number
// of processors, as in a container with a quota: one thread more would use that up earlier.
// Safe for concurrent use.
func Spare() (release func()) {
	spare.mu.Lock()
	defer spare.mu.Unlock()
	if spare.users == 0 && (os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) != runtime.NumCPU()) {
		return func() {}
	}
	if spare.users++; spare.users == 1 {
		spare.set = runtime.GOMAXPROCS(0) + 1
		runtime.GOMAXPROCS(spare.set)
	}
	return sync.OnceFunc(giveBack)
}

func giveBack() {
	spare.mu.Lock()
	defer spare.mu.Unlock()
	if spare.users--; spare.users > 0 {
		return
	}
	if runtime.GOMAXPROCS(0) == spare.set { // else somebody has set it since
		runtime.SetDefaultGOMAXPROCS() // what it was, and follows the host's again
	}
	spare.set = 0
}

// Number is how many goroutines that compute are worth running at once: GOMAXPROCS without
// the spare one.
func Number() int {
	spare.mu.Lock()
	defer spare.mu.Unlock()
	n := runtime.GOMAXPROCS(0)
	if n == spare.set {
		n--
	}
	return n
}
