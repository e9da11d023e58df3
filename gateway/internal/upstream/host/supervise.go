package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// launch starts a process and waits until it is ready (or, for a check, registered).
// On an error nothing of it is left.
func (h *Host) launch(ctx context.Context, c config) (child, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.opts.StartLimit, fmt.Errorf("%w: it had %v; raise runtime_start_limit if the module needs longer",
		ErrStartLimit, h.opts.StartLimit))
	defer cancel()
	var err error
	if h.lock, err = keepFolder(h.folder, h.lock); err != nil {
		return nil, fmt.Errorf("the folder of the Smithers process: %w", err)
	}
	for _, path := range []string{h.socket(), h.feed().Path} { // of the process before
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	p, err := h.spawn(launchSpec{
		runtime: h.runtime, script: filepath.Join(h.folder, scriptName), dir: h.opts.Root, env: h.environment(), config: c,
	}, h.output)
	if p == nil {
		return nil, err
	}
	if err == nil {
		err = h.untilReady(ctx, p)
	}
	if err != nil {
		p.Kill()
		for range p.Reports() {
		}
		<-p.Ended()
		return nil, err
	}
	return p, nil
}

func (h *Host) untilReady(ctx context.Context, p child) error {
	for {
		select {
		case r, ok := <-p.Reports():
			switch {
			case !ok:
				<-p.Ended()
				return fmt.Errorf("the Smithers process was not ready yet: %w%s", p.Err(), h.lastWords())
			case r.Type == reportFailed:
				return r.failure(h.opts)
			case r.Type == reportReady, r.Type == reportRegistered:
				h.mu.Lock()
				h.version, h.workflows = r.Version, r.Workflows
				h.mu.Unlock()
				if r.Type == reportReady {
					return h.probe(ctx)
				}
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%w%s", context.Cause(ctx), h.lastWords())
		}
	}
}

func (h *Host) lastWords() string {
	if tail := h.output.tail(); tail != "" {
		return "; its last output was:\n" + tail
	}
	return ""
}

// supervise keeps a process running until ctx ends or the Host has retired.
func (h *Host) supervise(ctx context.Context, p child) {
	var pauses backoff
	generation := 1
	defer func() {
		if err := h.clean(); err != nil {
			h.logger().Warn("removing the folder of the Smithers process", zap.Error(err))
		}
	}()
	for {
		var ready time.Duration
		var err error
		if p != nil {
			since := time.Now()
			if generation > 1 { // Start has shown the first
				h.show(p, generation)
			}
			err = h.attend(ctx, p)
			ready = time.Since(since)
			h.mu.Lock()
			h.dead = append(h.dead, p.PID())
			h.mu.Unlock()
		}
		if ctx.Err() != nil || h.isRetiring() {
			h.finish(err)
			return
		}
		pause := pauses.next(ready)
		for {
			if p != nil {
				h.logger().Error("the Smithers process ended; it is started again", zap.Error(err), zap.Int("pid", p.PID()), zap.Duration("pause", pause))
			} else {
				h.logger().Error("the Smithers process cannot be started; it is tried again", zap.Error(err), zap.Duration("pause", pause))
			}
			h.state.change(func(s *source.Status) {
				s.State, s.PID, s.RSS, s.Err, s.RetryAt = source.Down, 0, 0, err, time.Now().Add(pause)
			})
			if !h.sleep(ctx, pause) {
				h.finish(err)
				return
			}
			generation++
			h.state.change(func(s *source.Status) {
				s.State, s.Generation, s.RetryAt = source.Starting, generation, time.Time{}
				s.Restarts = generation - 1
			})
			if p, err = h.launch(ctx, h.config(false)); err == nil {
				break
			}
			if ctx.Err() != nil {
				h.finish(err)
				return
			}
			p, pause = nil, pauses.next(0)
		}
	}
}

func (h *Host) show(p child, generation int) {
	h.state.change(func(s *source.Status) {
		s.State, s.Generation, s.PID, s.Err, s.RSS = source.Ready, generation, p.PID(), nil, p.Memory()
	})
	h.logger().Info("the Smithers process is ready", zap.Int("pid", p.PID()), zap.String("smithers_version", h.Version()),
		zap.Int("workflows", len(h.Workflows())), zap.Int("restarts", generation-1))
}

func (h *Host) finish(err error) {
	h.state.change(func(s *source.Status) {
		s.State, s.PID, s.RSS, s.RetryAt = source.Stopped, 0, 0, time.Time{}
		if s.Err == nil {
			s.Err = err
		}
	})
	if h.isRetiring() && h.opts.Retired != nil {
		go h.opts.Retired()
	}
}

func (h *Host) isRetiring() bool {
	select {
	case <-h.retire:
		return true
	default:
		return false
	}
}

// sleep waits for a pause; false: the Host is to end.
func (h *Host) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-h.requests: // the next process is told by its configuration
		case <-ctx.Done():
			return false
		case <-h.retire:
			return false
		}
	}
}
