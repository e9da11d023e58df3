package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/smithersai/caddy-smithers/gateway"
)

// closeMargin is what closing may take beyond the drain time before the process
// goes on without it. A database left open is safe, only slower to open again.
const closeMargin = 10 * time.Second

// pool holds the gateways of the process by the identity of their database and by
// nothing else, so that a reload with other settings finds the same gateway.
var pool = &gatewayPool{usage: caddy.NewUsagePool(), closing: make(map[string]*closing), exit: os.Exit}

func init() {
	// The last gateway may still be closing when no config names it any more.
	caddy.OnExit(func(ctx context.Context) { _ = pool.waitAll(ctx) })
}

// gatewayPool counts the configs that use a gateway and closes it after the last.
type gatewayPool struct {
	usage *caddy.UsagePool
	exit  func(code int) // os.Exit, except in tests

	mu      sync.Mutex
	closing map[string]*closing
}

type closing struct {
	done chan struct{}
	err  error // valid once done is closed
}

// shared is a gateway in the pool.
type shared struct {
	key     string
	gateway *gateway.Gateway
	log     *switchedCore
	pool    *gatewayPool

	drainOnce, stopOnce sync.Once
	stopped             chan struct{} // closed when shutDown begins
	stopErr             error
}

// identity returns the pool key of a database: the real path of its folder plus the
// file name. The file, and even the folder, need not exist.
func identity(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	folder, rest := filepath.Dir(abs), filepath.Base(abs)
	for {
		real, err := filepath.EvalSymlinks(folder)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(folder)
		if !errors.Is(err, fs.ErrNotExist) || parent == folder {
			return abs, nil // opening it will say what is wrong
		}
		folder, rest = parent, filepath.Join(filepath.Base(folder), rest)
	}
}

func (p *gatewayPool) acquire(key string) (*shared, error) {
	value, _, err := p.usage.LoadOrNew(key, func() (caddy.Destructor, error) {
		log := newSwitchedCore()
		s := &shared{key: key, gateway: gateway.New(log.logger()), log: log, pool: p, stopped: make(chan struct{})}
		go s.endWithDoomed()
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*shared), nil
}

func (p *gatewayPool) release(key string) error {
	_, err := p.usage.Delete(key)
	return err
}

// each calls f for every gateway until it returns false.
func (p *gatewayPool) each(f func(*shared) bool) {
	var all []*shared
	p.usage.Range(func(_, value any) bool {
		all = append(all, value.(*shared))
		return true
	})
	for _, s := range all {
		if !f(s) {
			return
		}
	}
}

// waitClosed waits until a former gateway on the key has let go of its files.
func (p *gatewayPool) waitClosed(ctx context.Context, key string) error {
	p.mu.Lock()
	c := p.closing[key]
	p.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		return nil // had it failed, opening the database would say so
	case <-ctx.Done():
		return fmt.Errorf("waiting for the former gateway of %s to close: %w", key, ctx.Err())
	}
}

// waitAll waits for all gateways that are closing.
func (p *gatewayPool) waitAll(ctx context.Context) error {
	p.mu.Lock()
	var all []*closing
	for _, c := range p.closing {
		all = append(all, c)
	}
	p.mu.Unlock()
	for _, c := range all {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Destruct closes the gateway behind the requests and sockets that still use it.
// The reload that dropped it does not wait for them.
func (s *shared) Destruct() error {
	c := &closing{done: make(chan struct{})}
	s.pool.mu.Lock()
	s.pool.closing[s.key] = c
	s.pool.mu.Unlock()
	go func() {
		c.err = s.shutDown()
		s.pool.mu.Lock()
		if s.pool.closing[s.key] == c {
			delete(s.pool.closing, s.key)
		}
		s.pool.mu.Unlock()
		close(c.done)
	}()
	return nil
}

// drainOnExit tells streams and sockets to leave if the process is about to end. It
// returns at once.
func (s *shared) drainOnExit() {
	if caddy.Exiting() {
		s.drainOnce.Do(func() { go s.gateway.Drain(context.Background()) })
	}
}

// shutDown drains and closes the gateway once; further calls wait for the first.
func (s *shared) shutDown() error {
	s.stopOnce.Do(func() {
		close(s.stopped)
		ctx, cancel := context.WithTimeout(context.Background(), s.gateway.DrainTime()+closeMargin)
		defer cancel()
		s.stopErr = s.gateway.Close(ctx)
		if s.stopErr != nil {
			s.log.logger().Error("closing the gateway", zap.String("db_path", s.key), zap.Error(s.stopErr))
		}
	})
	return s.stopErr
}

// endWithDoomed ends the process when the gateway cannot recover by itself, with a
// code that makes a supervisor start it again.
func (s *shared) endWithDoomed() {
	select {
	case <-s.stopped:
		return
	case <-s.gateway.Doomed():
	}
	s.log.logger().Error("the gateway cannot recover by itself: ending the process, which its supervisor should start again",
		zap.String("db_path", s.key))
	_ = s.shutDown() // logged there
	s.pool.exit(caddy.ExitCodeFailedQuit)
}

// use makes the gateway log where the owner's config wants it; release takes that
// back.
func (s *shared) use(owner any, core zapcore.Core) { s.log.push(owner, core) }

func (s *shared) release(owner any) { s.log.drop(owner) }
