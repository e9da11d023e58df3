package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"github.com/smithersai/caddy-smithers/bench/scenarios"
)

// prepare builds and installs what is measured.
func prepare(ctx context.Context, o options) (*scenarios.Env, error) {
	folder, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(folder, "peers", "Caddyfile")); err != nil {
		return nil, errors.New("run this in the folder bench, or say `make bench`")
	}
	cache := filepath.Join(folder, ".cache")
	tools := filepath.Join(cache, "tools")
	env := &scenarios.Env{Folder: folder, Binary: o.binary, Tools: tools, Rounds: o.rounds}
	switch {
	case o.tiny:
		env.Size = scenarios.Tiny
	case o.quick:
		env.Size = scenarios.Quick
	}
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return nil, err
	}
	if env.Binary == "" {
		env.Binary = filepath.Join(cache, "smithers-gateway")
		err := command(ctx, filepath.Dir(folder), "go", "run", "./xcaddy", "build", "--with",
			"github.com/smithersai/caddy-smithers/bench/driver=./bench/driver", "--output", env.Binary)
		if err != nil {
			return nil, err
		}
	} else if env.Binary, err = filepath.Abs(env.Binary); err != nil {
		return nil, err
	}
	if err := command(ctx, folder, "go", "build", "-o", tools+string(filepath.Separator), "./peers/..."); err != nil {
		return nil, err
	}
	if !o.tiny {
		if err := install(ctx, filepath.Join(folder, "peers", "smithers")); err != nil {
			fmt.Fprintln(os.Stderr, "bench: the original gateway is left out:", err)
		}
	}
	return env, nil
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}

// install fetches the original, unless the lock file is the one installed.
func install(ctx context.Context, folder string) error {
	lock, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(folder, "node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	if _, err := exec.LookPath("npm"); err != nil {
		return err
	}
	fmt.Println("installing the original gateway from npm; this takes some minutes once")
	// No scripts: the packages work without theirs, and Bun's binary is a package.
	if err := command(ctx, folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return err
	}
	return os.WriteFile(stamp, lock, 0o644)
}

// raiseFiles allows as many open files as the system does.
func raiseFiles() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	high := limit
	high.Cur, high.Max = max(limit.Max, 1<<17), max(limit.Max, 1<<17)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &high) != nil { // only root may raise the hard limit
		high.Cur, high.Max = limit.Max, limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &high)
	}
}

func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func commitOf(ctx context.Context) string {
	commit := output(ctx, "git", "rev-parse", "--short", "HEAD")
	if out := output(ctx, "git", "status", "--porcelain", "--untracked-files=no"); out != "" && out != "unknown" {
		commit += " with changes"
	}
	return commit
}

// machine describes where the figures come from.
func machine(ctx context.Context, env *scenarios.Env) [][2]string {
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return [][2]string{
		{"machine", fmt.Sprintf("%d processors (%s), %s of memory, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), memory(), kernel(output(ctx, "uname", "-sr")))},
		{"servers and client share these processors; all traffic is on loopback; open files", fmt.Sprint(limit.Cur)},
		{"gateway", gatewayVersion(output(ctx, env.Binary, "version")) + ", " + runtime.Version()},
		{"peers", "Smithers Gateway 0.32.0 on Bun 1.4.5, Centrifuge v0.40.1, gorilla/websocket v1.5.3 (the limit), Caddy `respond` of the same binary"},
	}
}

// gatewayVersion reads what the gateway's version command says: its own version, then
// Caddy's and the sum of Caddy's module.
func gatewayVersion(said string) string {
	words := strings.Fields(said)
	if len(words) < 2 {
		return said
	}
	return words[0] + " with Caddy " + words[1]
}

// kernel shortens "Linux 6.18.3-generic" to "Linux 6.18": what follows the second number
// names a build of some machine.
func kernel(full string) string {
	if short := kernelVersion.FindString(full); short != "" {
		return short
	}
	return full
}

var kernelVersion = regexp.MustCompile(`^\w+ \d+\.\d+`)

// field is a value of a file of "name : value" lines.
func field(path, name string) string {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	var kb int
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d kB", &kb); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d GiB", (kb+1<<19)>>20)
}
