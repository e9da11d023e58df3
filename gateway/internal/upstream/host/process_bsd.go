//go:build unix && !linux

package host

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes put the child into a group of its own. That it ends with the gateway is
// left to the guard and to the script itself.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// residentBytes is the memory of a process; 0 when it cannot be read.
func residentBytes(pid int) int64 {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
