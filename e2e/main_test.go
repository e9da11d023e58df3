// Package e2e tests the built binary from outside: real processes, real sockets,
// real files, real signals.
package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the gateway under test. It is built once, with the flags that users get.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binary = os.Getenv("SMITHERS_GATEWAY_BINARY"); binary != "" {
		return m.Run() // an operator wants to know whether this very file works
	}
	dir, err := os.MkdirTemp("", "smithers-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "smithers-gateway")
	cmd := exec.Command("go", "run", "./xcaddy", "build", "--plain", "--output", binary)
	cmd.Dir = ".."
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out.String())
		return 1
	}
	return m.Run()
}
