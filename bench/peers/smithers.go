package peers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// ErrMissing is wrapped when a peer is not installed.
var ErrMissing = errors.New("not installed")

// Smithers is the original gateway, release 0.32.0 under Bun.
type Smithers struct {
	*Process
	*client.Client
	Tokens []string // of users of their own: the original allows 32 streams each
	spec   spec
}

// StartSmithers starts the original from its folder, where `npm ci` has been run.
func StartSmithers(ctx context.Context, folder string) (*Smithers, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	bun := ""
	for _, name := range []string{"bun-linux-x64", "bun-linux-x64-baseline", "bun-linux-aarch64"} {
		path := filepath.Join(folder, "node_modules", "@oven", name, "bin", "bun")
		if _, err := os.Stat(path); err == nil {
			bun = path
			break
		}
	}
	if bun == "" {
		return nil, errors.Join(ErrMissing, errors.New("the bun package holds no binary for this machine"))
	}
	dir, err := os.MkdirTemp("", "smithers-bench-")
	if err != nil {
		return nil, err
	}
	s := &Smithers{Tokens: []string{"bench-token-0", "bench-token-1"}}
	s.spec = spec{
		name: "original", dir: dir, ready: "/health", argv: []string{bun, filepath.Join(folder, "gateway.mjs")},
		env: []string{
			"NODE_ENV=production", "SMITHERS_DB_PATH=" + filepath.Join(dir, "smithers.db"),
			"BENCH_TOKENS=" + strings.Join(s.Tokens, ","),
		},
	}
	if s.Process, err = start(ctx, s.spec); err != nil {
		return nil, err
	}
	s.Client = &client.Client{Base: "http://" + s.Addr, Token: s.Tokens[0]}
	return s, nil
}

// Restart starts the original again on its database. It must have ended.
func (s *Smithers) Restart(ctx context.Context) error {
	s.done = make(chan struct{})
	if err := s.launch(s.spec); err != nil {
		return err
	}
	return s.Ready(ctx, s.spec.ready)
}
