package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// module registers what the phases launch.
const module = `export function register(gateway) {
  gateway.register("one", async (ctx) => ctx.task("only", async () => ({ ok: true })));
  gateway.register("chat", async (ctx) => {
    await ctx.approval("go", { title: "Begin?" });
    return ctx.task("talk", async ({ log }) => {
      for (let i = 0; i < ctx.input.lines; i++) await log("line " + i + " of some output, as long as a line of a build log is");
      return { lines: ctx.input.lines };
    });
  });
}
`

// gateway is the process under load.
type gateway struct {
	*client.Client
	cmd  *exec.Cmd
	dir  string
	done chan struct{}
}

func startGateway(ctx context.Context, binary string) (*gateway, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "smithers-load-")
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir, done: make(chan struct{})}
	if err := g.start(ctx, binary); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

func (g *gateway) start(ctx context.Context, binary string) error {
	if err := os.WriteFile(filepath.Join(g.dir, "gateway.mjs"), []byte(module), 0o644); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		return err
	}
	env := append(os.Environ(),
		"PORT="+strconv.Itoa(port), "HOME="+g.dir,
		"SMITHERS_DB_PATH="+filepath.Join(g.dir, "smithers.db"),
		"SMITHERS_TOKEN_STORE="+filepath.Join(g.dir, "tokens.json"),
		"SMITHERS_GATEWAY_MODULE="+filepath.Join(g.dir, "gateway.mjs"))

	issue := exec.CommandContext(ctx, binary, "token", "issue", "--scopes", "*", "--format", "json")
	issue.Env = env
	out, err := issue.Output()
	if err != nil {
		return fmt.Errorf("token issue: %w", err)
	}
	var issued struct{ Token string }
	if err := json.Unmarshal(out, &issued); err != nil {
		return fmt.Errorf("token issue: %w", err)
	}

	log, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	g.cmd = exec.Command(binary, "serve")
	g.cmd.Env, g.cmd.Stdout, g.cmd.Stderr, g.cmd.Dir = env, log, log, g.dir
	if err := g.cmd.Start(); err != nil {
		g.cmd = nil
		return err
	}
	go func() {
		_ = g.cmd.Wait()
		close(g.done)
	}()
	g.Client = &client.Client{Base: "http://127.0.0.1:" + strconv.Itoa(port), Token: issued.Token}
	return g.ready(ctx)
}

func (g *gateway) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := g.Get(ctx, "/health"); err == nil && status == 200 {
			return nil
		}
		select {
		case <-tick.C:
		case <-g.done:
			return errors.New("the gateway ended: " + g.logTail())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// commits is how many transactions the store has committed.
func (g *gateway) commits(ctx context.Context) (float64, error) {
	_, body, err := g.Get(ctx, "/health")
	if err != nil {
		return 0, err
	}
	var report map[string]any
	if err := json.Unmarshal(body, &report); err != nil {
		return 0, err
	}
	if n, ok := find(report, "commits"); ok {
		return n, nil
	}
	return 0, errors.New("/health tells no commits")
}

// find looks for a number anywhere in a report.
func find(report map[string]any, name string) (float64, bool) {
	if n, ok := report[name].(float64); ok {
		return n, true
	}
	for _, v := range report {
		if inner, ok := v.(map[string]any); ok {
			if n, ok := find(inner, name); ok {
				return n, true
			}
		}
	}
	return 0, false
}

func (g *gateway) logTail() string {
	text, err := os.ReadFile(filepath.Join(g.dir, "log"))
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"http.log.access"`) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

func (g *gateway) stop() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		<-g.done
	}
	_ = os.RemoveAll(g.dir)
}
