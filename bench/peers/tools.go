package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// StartTool starts one of the small programs below this folder, "centrifuge" or
// "gorilla", with its flags.
func StartTool(ctx context.Context, binaries, name string, flags ...string) (*Process, error) {
	dir, err := os.MkdirTemp("", "smithers-bench-")
	if err != nil {
		return nil, err
	}
	return start(ctx, spec{name: name, dir: dir, argv: append([]string{filepath.Join(binaries, name)}, flags...), ready: "/health"})
}

// Commits is the program that commits one row at a time beside a load.
type Commits struct {
	cmd *exec.Cmd
	out bytes.Buffer
	dir string
}

// StartCommits begins to commit a row of the given size at a pace, FULL, on a database
// of its own on the same disk as the gateway's.
func StartCommits(ctx context.Context, binaries string, every time.Duration, row int) (*Commits, error) {
	dir, err := os.MkdirTemp("", "smithers-bench-")
	if err != nil {
		return nil, err
	}
	c := &Commits{dir: dir}
	c.cmd = exec.CommandContext(ctx, filepath.Join(binaries, "commits"), "-db", filepath.Join(dir, "lone.db"),
		"-every", every.String(), "-row", fmt.Sprint(row))
	c.cmd.Stdout, c.cmd.Stderr = &c.out, os.Stderr
	return c, c.cmd.Start()
}

// Stop ends the program and returns how long each commit took.
func (c *Commits) Stop() ([]time.Duration, error) {
	defer os.RemoveAll(c.dir)
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		return nil, err
	}
	if err := c.cmd.Wait(); err != nil {
		return nil, fmt.Errorf("commits: %w", err)
	}
	var times []time.Duration
	return times, json.Unmarshal(c.out.Bytes(), &times)
}
