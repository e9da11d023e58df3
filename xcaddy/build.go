package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/xcaddy"
)

// buildTags leave out the database drivers that Caddy's certificate store never
// uses; xcaddy's own default.
const buildTags = "nobadger,nomysql,nopgx"

// buildFlags are given to every go command that compiles, in both ways of
// building, so that they share one build cache. -v names each package that had to
// be compiled, which is what progress counts.
func buildFlags(version string) []string {
	// The help then speaks of the command that was typed; see caddymodule.About.
	ldflags := "-s -w -X github.com/caddyserver/caddy/v2.CustomBinaryName=smithers-gateway"
	if version != "" {
		ldflags += " -X " + modulePath + "/gateway.Version=" + version
	}
	return []string{"-v", "-trimpath", "-buildvcs=false", "-tags=" + buildTags, "-ldflags=" + ldflags}
}

// goGetTimeout bounds the look-up of versions; a slow line deserves more than a
// dead one.
const goGetTimeout = 15 * time.Minute

// build compiles the gateway and returns the path of the binary. The binary
// appears there only after its modules have been compared with go.mod.
func build(ctx context.Context, c *console, co *checkout, o buildOptions) (string, error) {
	output := o.output
	if output == "" {
		output = co.binary()
	}
	output, err := filepath.Abs(output)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return "", fmt.Errorf("folder for the binary: %w", err)
	}
	fresh := output + ".new"
	defer os.Remove(fresh)

	start := time.Now()
	total := countPackages(ctx, co)
	if o.plain {
		err = plainBuild(ctx, c, co, o, fresh, total)
	} else {
		err = pluginBuild(ctx, c, co, o, fresh, total)
		var offline *offlineError
		if errors.As(err, &offline) && len(o.plugins) == 0 && ctx.Err() == nil {
			c.note("The module proxy cannot be reached (%s).", offline.line)
			c.note("Falling back to `go build %s`: same modules, same versions, no plugins.", plainTarget)
			err = plainBuild(ctx, c, co, o, fresh, total)
		}
	}
	if err != nil {
		return "", err
	}
	if err := checkModules(ctx, c, co, o, fresh); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, output); err != nil {
		return "", fmt.Errorf("placing the binary: %w", err)
	}
	size := ""
	if info, err := os.Stat(output); err == nil {
		size = fmt.Sprintf(", %d MB", info.Size()>>20)
	}
	c.note("Built %s in %s%s.", tidyPath(output), short(time.Since(start)), size)
	return output, nil
}

// offlineError is a build that failed because no module proxy answered.
type offlineError struct {
	line string
	err  error
}

func (e *offlineError) Error() string {
	return fmt.Sprintf("no module proxy can be reached: %s: %v", e.line, e.err)
}
func (e *offlineError) Unwrap() error { return e.err }

// pluginBuild compiles with the xcaddy library in a temporary module.
func pluginBuild(ctx context.Context, c *console, co *checkout, o buildOptions, output string, total int) error {
	b := xcaddy.Builder{
		Compile:      xcaddy.Compile{Platform: o.platform},
		CaddyVersion: co.versions[caddyPath],
		Plugins:      []xcaddy.Dependency{{PackagePath: pluginPath}},
		Replacements: []xcaddy.Replace{xcaddy.NewReplace(modulePath, co.root)},
		TimeoutGet:   goGetTimeout,
		BuildFlags:   quoteFlags(buildFlags(o.version)),
		Env:          buildEnv(),
	}
	for _, p := range o.plugins {
		b.Plugins = append(b.Plugins, xcaddy.Dependency{PackagePath: p.module, Version: p.version})
		if p.path != "" {
			b.Replacements = append(b.Replacements, xcaddy.NewReplace(p.module, p.path))
		}
	}
	c.note("Building with Caddy %s, CGO off, for %s/%s. The first build compiles everything and takes minutes.",
		b.CaddyVersion, o.platform.OS, o.platform.Arch)

	p := newProgress(c, total)
	defer p.close()
	s := &seeder{ctx: ctx, co: co, plugins: o.plugins}
	b.OnStep = func(e *xcaddy.StepEvent) error {
		if e.Step == xcaddy.StepCleanup { // keeps the words of the step that failed
			_, err := io.Copy(io.Discard, e.Output)
			return err
		}
		p.begin(stepText(e.Step))
		if err := p.follow(e.Output, e.Step == xcaddy.StepCompile, s.line); err != nil {
			return err
		}
		return s.after(e.Step)
	}
	err := b.Build(ctx, output)
	p.close()
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if line := p.offline(); line != "" {
		return &offlineError{line: line, err: err}
	}
	return fmt.Errorf("%s failed: %w\n%s", p.current(), err, strings.Join(p.tail(), "\n"))
}

// plainBuild compiles this checkout's own main package.
func plainBuild(ctx context.Context, c *console, co *checkout, o buildOptions, output string, total int) error {
	p := newProgress(c, total)
	defer p.close()
	p.begin("compiling")
	args := append([]string{"build", "-o", output}, buildFlags(o.version)...)
	cmd := exec.CommandContext(ctx, "go", append(args, plainTarget)...)
	cmd.Dir = co.root
	cmd.Env = append(buildEnv(), "CGO_ENABLED=0", "GOOS="+o.platform.OS, "GOARCH="+o.platform.Arch)
	if err := p.run(cmd); err != nil {
		p.close()
		return fmt.Errorf("go build: %w\n%s", err, strings.Join(p.tail(), "\n"))
	}
	return nil
}

// buildEnv is the environment of the go commands. A go.work of the user would
// pull other modules into the build.
func buildEnv() []string { return append(os.Environ(), "GOWORK=off") }

// quoteFlags joins flags the way xcaddy splits them again (shell words).
func quoteFlags(flags []string) string {
	quoted := make([]string, len(flags))
	for i, f := range flags {
		quoted[i] = "'" + strings.ReplaceAll(f, "'", `'"'"'`) + "'"
	}
	return strings.Join(quoted, " ")
}

// offlineSigns are what the go command prints when no module proxy answers.
var offlineSigns = []string{
	"dial tcp", "no such host", "network is unreachable", "connection refused", "i/o timeout",
	"TLS handshake timeout", "proxyconnect", "module lookup disabled by GOPROXY=off",
	"Temporary failure in name resolution", "Could not resolve host",
}

func saysOffline(line string) bool {
	return slices.ContainsFunc(offlineSigns, func(sign string) bool { return strings.Contains(line, sign) })
}

// countPackages is how many packages a build from nothing compiles; 0 if the go
// command cannot tell yet.
func countPackages(ctx context.Context, co *checkout) int {
	out, err := goOutput(ctx, co.root, "list", "-deps", "-tags="+buildTags, plainTarget)
	if err != nil {
		return 0
	}
	n := 0
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		n++
	}
	return n
}

// tidyPath shortens a path inside the current folder.
func tidyPath(path string) string {
	cwd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(cwd, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	return rel
}
