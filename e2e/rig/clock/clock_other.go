//go:build !(linux && amd64)

package clock

import (
	"errors"
	"os/exec"
	"time"
)

// Clock needs another system.
type Clock struct{}

// Start needs another system.
func Start(*exec.Cmd, time.Duration) (*Clock, error) {
	return nil, errors.New("the clock of a process can be set on Linux on amd64 only")
}

// Set never comes to be called.
func (*Clock) Set(time.Duration) error { return nil }
