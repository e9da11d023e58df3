package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestFindCheckout(t *testing.T) {
	co, err := findCheckout(t.Context(), ".")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(co.root, "gateway", "settings.go"))
	require.Equal(t, "v2.11.9", co.versions[caddyPath])
	for _, m := range pinned {
		require.NotEmpty(t, co.versions[m], m)
	}

	_, err = findCheckout(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "not inside a checkout")
}

func TestBuildFlagsSurviveShellSplitting(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell on this system to split with")
	}
	for _, flags := range [][]string{buildFlags(""), buildFlags("1.2.3-rc.1+build"), {"a'b c"}} {
		out, err := exec.CommandContext(t.Context(), sh, "-c", `printf '%s\n' `+quoteFlags(flags)).Output()
		require.NoError(t, err)
		require.Equal(t, strings.Join(flags, "\n")+"\n", string(out))
	}
}

func TestProgressCountsPackagesAndKeepsMessages(t *testing.T) {
	c, _, errOut := testConsole()
	p := newProgress(c, 10)
	p.begin("compiling")
	require.NoError(t, p.follow(strings.NewReader(
		"runtime\ngithub.com/a/b\n# github.com/a/b\n./x.go:1: undefined: y\n"), true, nil))
	require.Contains(t, p.line(), "2 packages compiled (10 in a build from nothing)")
	require.Equal(t, []string{"# github.com/a/b", "./x.go:1: undefined: y"}, p.tail())
	require.Empty(t, p.offline())
	p.begin("resolving")
	require.NoError(t, p.follow(strings.NewReader("go: x: dial tcp: lookup proxy.golang.org: no such host\n"), false, nil))
	p.begin("compiling")
	require.Contains(t, p.offline(), "no such host", "remembered over steps")
	p.close()
	p.close()
	require.Contains(t, errOut.String(), "compiling")
}

func TestProgressOfACommandThatCannotBeFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	c, _, _ := testConsole()
	p := newProgress(c, 0)
	defer p.close()
	require.ErrorIs(t, p.run(exec.Command("sh", "-c", "head -c 4000000 /dev/zero | tr '\\0' x")), bufio.ErrTooLong)
	require.NoError(t, p.run(exec.Command("sh", "-c", "echo a/package; echo a message")))
	require.Equal(t, []string{"a message"}, p.tail()[len(p.tail())-1:])
	require.Error(t, p.run(exec.Command("sh", "-c", "exit 3")))
}

func TestMovedModules(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "go.mod", "module example.com/mover\n\nrequire modernc.org/libc v1.99.0\n")
	o := buildOptions{plugins: []plugin{{module: "example.com/other", path: t.TempDir()}, {module: "example.com/mover", path: dir}}}
	want := map[string]string{"modernc.org/libc": "v1.79.0", "example.com/free": "v1.0.0"}
	have := map[string]string{"modernc.org/libc": "v1.99.0", "example.com/free": "v1.1.0", "example.com/new": "v0.1.0"}

	list := moves(have, want)
	require.Equal(t, []move{{"example.com/free", "v1.0.0", "v1.1.0"}, {"modernc.org/libc", "v1.79.0", "v1.99.0"}}, list)
	require.Equal(t, "plugin example.com/mover="+dir, mover(t.Context(), &checkout{root: ".", versions: want}, o, have, list[1]))
	require.Empty(t, moves(want, want))
}

func TestOwnerIsTheLongestModule(t *testing.T) {
	have := map[string]string{"example.com/a": "v1.0.0", "example.com/a/b": "v2.0.0", "example.com/ab": "v3.0.0"}
	path, version := owner("example.com/a/b/c", have)
	require.Equal(t, "example.com/a/b", path)
	require.Equal(t, "v2.0.0", version)
}

// Both ways of building must give the same program: what CI tests with go build is
// what users get from xcaddy.
func TestBothBuildsHaveTheSameModules(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the binary twice")
	}
	ctx := t.Context()
	co, err := findCheckout(ctx, ".")
	require.NoError(t, err)
	c, _, errOut := testConsole()

	plain := buildForTest(t, ctx, c, co, "plain", buildOptions{platform: hostPlatform(), plain: true})
	require.NoError(t, err, errOut)
	documented := goRun(t, docs.Tested(t, "deploy/reference/README.md").Next().Text, "build")
	require.Len(t, documented, 1)
	o, err := parseBuild(c, documented[0])
	require.NoError(t, err)
	require.Equal(t, buildOptions{platform: hostPlatform()}, o)
	whole := buildForTest(t, ctx, c, co, "whole", o)
	if strings.Contains(errOut.String(), "Falling back to") {
		if os.Getenv("CI") != "" {
			t.Fatal(errOut.String())
		}
		t.Skip("no module proxy can be reached")
	}
	delete(whole, modulePath) // its own module here, the main module there
	require.Equal(t, plain, whole)
	require.Empty(t, moves(whole, co.versions))
}

// Without a proxy the checkout is built as it is, and the user is told; a plugin
// cannot be had and is an error that says why.
func TestNoProxyAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the binary")
	}
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in for the go command is a shell script")
	}
	co, err := findCheckout(t.Context(), ".")
	require.NoError(t, err)
	offlineGo := writeFile(t, t.TempDir(), "go", `#!/bin/sh
[ "$1" = get ] || exec go "$@"
echo 'go: x: Get "https://proxy.golang.org/x": dial tcp: lookup proxy.golang.org: no such host' >&2
exit 1
`)
	require.NoError(t, os.Chmod(offlineGo, 0o755))
	t.Setenv("XCADDY_WHICH_GO", offlineGo) // read by the xcaddy library

	c, _, errOut := testConsole()
	o := buildOptions{platform: hostPlatform(), output: filepath.Join(t.TempDir(), "gateway")}
	path, err := build(t.Context(), c, co, o)
	require.NoError(t, err)
	require.FileExists(t, path)
	require.Contains(t, errOut.String(), "Falling back to `go build ./xcaddy/smithers-gateway`")

	o.plugins = []plugin{{module: "example.com/some/plugin"}}
	_, err = build(t.Context(), c, co, o)
	var offline *offlineError
	require.ErrorAs(t, err, &offline)
	require.ErrorContains(t, err, "no such host")
}

// A workflow written in Go is a plugin like any other.
func TestBuildWithAGoWorkflow(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the binary")
	}
	ctx := t.Context()
	co, err := findCheckout(ctx, ".")
	require.NoError(t, err)
	c, _, errOut := testConsole()
	t.Chdir(co.root) // which the README's path counts from
	p, err := parsePlugin(modulePath + "/examples/go-workflow=./examples/go-workflow")
	require.NoError(t, err)
	o := buildOptions{platform: hostPlatform(), output: filepath.Join(t.TempDir(), "gateway"), plugins: []plugin{p}}
	path, err := build(ctx, c, co, o)
	var offline *offlineError
	if errors.As(err, &offline) && os.Getenv("CI") == "" {
		t.Skip("no module proxy can be reached")
	}
	require.NoError(t, err, errOut)
	out, err := exec.CommandContext(ctx, path, "list-modules").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "http.handlers.smithers")
	require.Contains(t, string(out), "smithers.workflows.release")
}

func buildForTest(t *testing.T, ctx context.Context, c *console, co *checkout, name string, o buildOptions) map[string]string {
	t.Helper()
	o.output = filepath.Join(t.TempDir(), name)
	path, err := build(ctx, c, co, o)
	require.NoError(t, err)
	modules, err := binaryModules(path)
	require.NoError(t, err)
	return modules
}
