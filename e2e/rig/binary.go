package rig

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// EnvBinary names a gateway to test instead of one that is built for it.
const EnvBinary = "SMITHERS_GATEWAY_BINARY"

var binary string

// Main is the body of TestMain: it builds the gateway with the flags that users get,
// unless EnvBinary names one, and runs the tests.
func Main(m *testing.M) int {
	if binary = os.Getenv(EnvBinary); binary != "" {
		return m.Run()
	}
	root, err := moduleRoot()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "smithers-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "smithers-gateway")
	cmd := exec.Command("go", "run", "./xcaddy", "build", "--plain", "--output", binary)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Binary is the path of the gateway under test.
func Binary() string { return binary }

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("where is go.mod: %w", err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

// Count is a number of a test that `make test` keeps small and a longer run raises
// by an environment variable.
func Count(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a positive number", variable, text)
	}
	return n
}

// Need skips a test that lacks something of the machine, in one line. On CI, where
// nobody would see the line, that is a failure.
func Need(t *testing.T, have bool, what string) {
	t.Helper()
	switch {
	case have:
	case os.Getenv("CI") != "":
		t.Fatalf("this test needs %s, and CI must have it", what)
	default:
		t.Skipf("skipped: needs %s", what)
	}
}
