//go:build !unix

package exec

import osexec "os/exec"

// family does nothing where there are no process groups: the program itself is
// killed, its children are not.
func family(*osexec.Cmd) {}

func endFamily(*osexec.Cmd) {}
