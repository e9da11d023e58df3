package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

const root = "../.."

// noted runs a script in a folder with a stand-in for each of the programs, which notes what
// it is called with, and returns the calls in order, each with the program's name first.
func noted(t *testing.T, dir, script string, programs ...string) (calls [][]string) {
	t.Helper()
	bin, told := t.TempDir(), filepath.Join(t.TempDir(), "calls")
	for _, p := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(bin, p), []byte("#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" \"$@\" >>\"$CALLS\"\necho >>\"$CALLS\"\n"), 0o755))
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CALLS="+told, "PATH="+bin+":"+os.Getenv("PATH"), rig.EnvBinary+"=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", script, out)
	text, err := os.ReadFile(told)
	require.NoError(t, err, "%s called none of %v", script, programs)
	for line := range strings.Lines(string(text)) {
		calls = append(calls, strings.Split(strings.TrimSuffix(line, "\x00\n"), "\x00"))
	}
	return calls
}

// commands are the lines of a block, without comments.
func commands(block string) (lines []string) {
	for line := range strings.Lines(block) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// made is what a call of make would run.
func made(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line+" --no-print-directory -n")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s: %s", line, out)
	return strings.TrimSpace(string(out))
}

// TestMakeTest: what the README calls the test of everything is that script, and the shell
// can read it.
func TestMakeTest(t *testing.T) {
	needs(t, "bash", "make")
	lines := commands(docs.Tested(t, "README.md").Next().Text)
	require.Len(t, lines, 1)
	require.Equal(t, "sh .ci/test", made(t, lines[0]))
	out, err := exec.CommandContext(t.Context(), "sh", "-n", filepath.Join(root, ".ci", "test")).CombinedOutput()
	require.NoError(t, err, string(out))
}

var assigned = regexp.MustCompile(`\b([A-Z][A-Z_]+)=`)

// TestReliabilityCommands: the commands lead to tests that are there, with options that
// those know; the tests themselves would take hours.
func TestReliabilityCommands(t *testing.T) {
	needs(t, "bash", "make", "go")
	for _, line := range commands(docs.Tested(t, "docs/reliability.md").Next().Text) {
		if strings.HasPrefix(line, "make ") {
			line = made(t, line)
		}
		for _, m := range assigned.FindAllStringSubmatch(line, -1) {
			require.True(t, readByTests(t, m[1]), "nobody reads %s", m[1])
		}
		if line == "sh .ci/test" { // TestMakeTest
			continue
		}
		tests := 0
		for _, call := range noted(t, root, line, "go") {
			if call[1] == "test" {
				leadsToTests(t, call[2:])
				tests++
			}
		}
		require.Positive(t, tests, line)
	}
}

// readByTests reports whether a test below e2e reads a variable of the environment.
func readByTests(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob(root + "/e2e/*/*.go")
	require.NoError(t, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		if strings.Contains(string(text), `"`+name+`"`) {
			return true
		}
	}
	return false
}

// leadsToTests holds that packages have tests, and those that a call of go test has options
// for list the ones that would run.
func leadsToTests(t *testing.T, args []string) {
	t.Helper()
	list, own := ".", false
	var kept []string
	for n := 0; n < len(args); n++ {
		switch arg := args[n]; {
		case arg == "-v" || arg == "-p" || arg == "-timeout" || strings.HasPrefix(arg, "-count="):
			if arg == "-p" || arg == "-timeout" {
				n++
			}
		case arg == "-run":
			n++
			list, own = args[n], true
		case strings.HasPrefix(arg, "./"):
			found, err := filepath.Glob(filepath.Join(root, arg, "*_test.go"))
			require.NoError(t, err)
			require.NotEmpty(t, found, arg)
			kept = append(kept, arg)
		default:
			own, kept = true, append(kept, arg)
		}
	}
	if !own {
		return
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-vet=off", "-list", list}, kept...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), rig.EnvBinary+"="+rig.Binary()) // nothing is built for a list
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	require.Regexp(t, `(?m)^Test`, string(out), "%v", args)
}

// TestConformanceCommands: what the commands hand on to the runner of Node.
func TestConformanceCommands(t *testing.T) {
	needs(t, "bash")
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "conformance", "node_modules"), 0o755))
	for _, name := range []string{"run.sh", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(root, "conformance", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "conformance", name), text, 0o644))
	}
	var runs, built []string
	for _, call := range noted(t, dir, docs.Tested(t, "conformance/README.md").Script(), "node", "npm", "go") {
		switch line := strings.Join(call, " "); {
		case strings.HasPrefix(line, "node --test "):
			runs = append(runs, line)
		case strings.HasPrefix(line, "go run ./xcaddy build --plain --output "):
			built = append(built, line)
		default:
			require.Contains(t, []string{"npm ci", "node -e", "node src/bundle.mjs"}, strings.Join(call[:2], " "))
		}
	}
	require.Len(t, runs, 4)
	require.Contains(t, runs[2], " --test-name-pattern=approval ")
	require.Len(t, built, 3, "not where a binary is named")
}

// needs holds that the machine has these programs.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		_, err := exec.LookPath(p)
		rig.Need(t, err == nil, p)
	}
}
