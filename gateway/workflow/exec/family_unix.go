//go:build unix

package exec

import (
	osexec "os/exec"
	"syscall"
)

// family puts a program and its children into a group of their own, which is asked
// to end when the attempt is cancelled.
func family(cmd *osexec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// endFamily ends the children that outlived the program.
func endFamily(cmd *osexec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails when none has
	}
}
