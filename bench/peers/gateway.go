package peers

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/internal/client"
)

//go:embed Caddyfile
var caddyfile string

//go:embed workspace.mjs
var workspace string

// Gateway is the gateway under test.
type Gateway struct {
	*Process
	*client.Client
	spec spec
}

// GatewayOptions change how it is set up. The zero value is the usual set-up.
type GatewayOptions struct {
	Dir      string   // keeps its database there; "": a temporary folder
	Settings []string // lines of the smithers block
	Module   string   // text of the workflow module; "": workspace.mjs
	Respond  string   // body of the route /respond
}

// StartGateway starts the binary and waits until it takes commits.
func StartGateway(ctx context.Context, binary string, o GatewayOptions) (*Gateway, error) {
	g, err := newGateway(ctx, binary, o)
	if err != nil {
		return nil, err
	}
	if g.Process, err = start(ctx, g.spec); err != nil {
		return nil, err
	}
	g.keep = o.Dir != ""
	g.Base = "http://" + g.Addr
	return g, nil
}

func newGateway(ctx context.Context, binary string, o GatewayOptions) (*Gateway, error) {
	dir := o.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "smithers-bench-"); err != nil {
			return nil, err
		}
	}
	module := o.Module
	if module == "" {
		module = workspace
	}
	for name, text := range map[string]string{"Caddyfile": caddyfile, "gateway.mjs": module} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	g := &Gateway{spec: spec{
		name: "gateway", dir: dir, ready: "/health/ready",
		argv: []string{binary, "run", "--config", filepath.Join(dir, "Caddyfile")},
		env: []string{
			"SMITHERS_DB_PATH=" + filepath.Join(dir, "smithers.db"),
			"SMITHERS_TOKEN_STORE=" + filepath.Join(dir, "tokens.json"),
			"SMITHERS_GATEWAY_MODULE=" + filepath.Join(dir, "gateway.mjs"),
			"SETTINGS=" + strings.Join(o.Settings, "\n\t\t\t"),
			"RESPOND=" + o.Respond,
			"ADMIN=" + cmp.Or(os.Getenv("BENCH_ADMIN"), "off"), // Caddy's endpoint, for profiles
		},
	}}
	token, err := g.token(ctx)
	if err != nil {
		return nil, err
	}
	g.Client = &client.Client{Token: token}
	return g, nil
}

// token issues one, or finds the one of an earlier start in the same folder.
func (g *Gateway) token(ctx context.Context) (string, error) {
	path := filepath.Join(g.spec.dir, "token")
	if kept, err := os.ReadFile(path); err == nil {
		return string(kept), nil
	}
	issue := exec.CommandContext(ctx, g.spec.argv[0], "token", "issue", "--scopes", "*", "--user-id", "bench", "--ttl", "24h", "--format", "json")
	issue.Env = append(os.Environ(), g.spec.env...)
	out, err := issue.Output()
	if err != nil {
		return "", fmt.Errorf("token issue: %w", err)
	}
	var issued struct{ Token string }
	if err := json.Unmarshal(out, &issued); err != nil {
		return "", fmt.Errorf("token issue: %w", err)
	}
	return issued.Token, os.WriteFile(path, []byte(issued.Token), 0o600)
}

// Restart starts the gateway again on its database, at the same address. It must have
// ended.
func (g *Gateway) Restart(ctx context.Context) error {
	g.done = make(chan struct{})
	if err := g.launch(g.spec); err != nil {
		return err
	}
	return g.Ready(ctx, g.spec.ready)
}

// Health is what /health tells, as far as scenarios look at it.
type Health struct {
	Storage     struct{ Commits, DBBytes, WALBytes int64 }
	Runs        struct{ Live, Queued, Attempts int64 }
	VMs         struct{ Live int }
	Connections struct{ Authenticated, PreAuth, Streams int }
}

// Health asks the gateway how it is.
func (g *Gateway) Health(ctx context.Context) (*Health, error) {
	_, body, err := g.Get(ctx, "/health")
	if err != nil {
		return nil, err
	}
	var answer struct{ Details *Health }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	if answer.Details == nil {
		return nil, fmt.Errorf("health without details: %.200s", body)
	}
	return answer.Details, nil
}

// Until polls the health until it is as wanted.
func (g *Gateway) Until(ctx context.Context, what string, ok func(*Health) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		h, err := g.Health(ctx)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if ok(h) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: live runs %d, queued %d, machines %d", what, h.Runs.Live, h.Runs.Queued, h.VMs.Live)
		}
	}
}

// DB is the path of the database.
func (g *Gateway) DB() string { return filepath.Join(g.Dir, "smithers.db") }

// Workspace is the text of the usual workflow module.
func Workspace() string { return workspace }
