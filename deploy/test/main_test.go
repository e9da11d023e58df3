// Package deploytest holds what deploy/reference promises: the files fit each other and
// the program, and the container and the services do what the guide says.
//
// Tests that need an engine, a tool or root are skipped where those are missing. In CI,
// where nobody reads about skips, they fail instead.
package deploytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Set by TestMain.
var (
	repository string // root of the checkout
	reference  string // deploy/reference in it
	binary     string // a smithers-gateway built from it, not from the Dockerfile
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if repository, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		reference = filepath.Join(repository, "deploy", "reference")
		dir, err := os.MkdirTemp("", "smithers-deploy")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "smithers-gateway")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags=nobadger,nomysql,nopgx", "-ldflags=-s -w",
			"-o", binary, "./xcaddy/smithers-gateway")
		build.Dir = repository
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// absent skips a test that cannot run here, or fails it in CI.
func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// tool returns the path of a program.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		absent(t, "%s is not installed", name)
	}
	return path
}

// read returns a file below deploy/reference.
func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{reference}, elements...)...))
	require.NoError(t, err)
	return string(text)
}

// output runs a command in the checkout and returns what it wrote; it must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(name, args...)
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	return out
}

func try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = repository
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var assignment = regexp.MustCompile(`(?m)^#?([A-Z][A-Z0-9_]*)=(.*)$`)

// assignments reads NAME=value lines; those behind a # are suggestions.
func assignments(text string) (set, suggested map[string]string) {
	set, suggested = map[string]string{}, map[string]string{}
	for _, m := range assignment.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[0], "#") {
			suggested[m[1]] = m[2]
		} else {
			set[m[1]] = m[2]
		}
	}
	return set, suggested
}
