package main

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: on Windows the console sends Ctrl-C to both programs, and
// the gateway ends by itself.
func ownGroup(*exec.Cmd) {}

func interrupt(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func forwarded() []os.Signal { return []os.Signal{os.Interrupt} }
