package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/xcaddy"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

// goRun returns the arguments that each `go run ./xcaddy COMMAND` of a block has behind the
// command, as the shell hands them on.
func goRun(t *testing.T, block, command string) (all [][]string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("skipped: needs bash")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", "go() { printf '%s\\0' \"$@\"; echo; }\n"+block)
	out, err := cmd.Output()
	require.NoError(t, err, block)
	for line := range strings.Lines(string(out)) {
		args := strings.Split(strings.TrimSuffix(line, "\x00\n"), "\x00")
		require.Equal(t, []string{"run", "./xcaddy", command}, args[:min(3, len(args))], block)
		all = append(all, args[3:])
	}
	require.NotEmpty(t, all, block)
	return all
}

// TestReadmeBuilds: what the README's ways to build are understood as. The first and the
// plugin of a path are built by TestBothBuildsHaveTheSameModules and TestBuildWithAGoWorkflow.
func TestReadmeBuilds(t *testing.T) {
	lines := goRun(t, docs.Tested(t, "README.md").Next().Text, "build")
	require.Len(t, lines, 3)
	co, err := findCheckout(t.Context(), ".")
	require.NoError(t, err)
	t.Chdir(co.root)
	c, _, _ := testConsole()
	workflow := plugin{module: modulePath + "/examples/go-workflow", path: filepath.Join(co.root, "examples", "go-workflow")}
	workflow.version = localVersion(workflow.module)
	for n, want := range []buildOptions{
		{platform: hostPlatform()},
		{platform: xcaddy.Platform{OS: "linux", Arch: "arm64"}, output: "dist/smithers-gateway"},
		{platform: hostPlatform(), plugins: []plugin{{module: "github.com/mholt/caddy-l4"}, workflow}},
	} {
		got, err := parseBuild(c, lines[n])
		require.NoError(t, err)
		require.Equal(t, want, got, lines[n])
	}
}
