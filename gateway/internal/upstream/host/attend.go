package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// attend looks after a ready process until it has ended, which it makes it when ctx
// ends, it does not answer, or it uses too much memory. It returns why it ended.
func (h *Host) attend(ctx context.Context, p child) error {
	looks, cancel := context.WithCancel(ctx)
	defer cancel()
	health := h.watchHealth(looks)
	defer func() {
		cancel()
		for range health { // until the goroutine has ended
		}
	}()
	retire := h.retire
	reports := p.Reports()
	answered := time.Now()
	scale := time.NewTicker(h.opts.ProbeEvery) // its own: a process that does not answer may be growing
	defer scale.Stop()
	for {
		select {
		case r, ok := <-reports:
			if !ok {
				reports = nil
				continue
			}
			h.handle(r)
		case <-p.Ended():
			return p.Err()
		case c := <-h.requests:
			if err := p.Command(c); err != nil {
				h.logger().Warn("telling the Smithers process", zap.String("command", c.Command), zap.Error(err))
			}
		case <-retire:
			retire = nil
			if err := p.Command(commandRetire); err != nil {
				return h.end(p, fmt.Errorf("it does not take commands: %w", err))
			}
		case err := <-health:
			if err == nil {
				answered = time.Now()
			} else if silent := time.Since(answered); silent >= h.opts.ProbeLimit {
				p.Kill()
				return h.end(p, fmt.Errorf("it has not answered for %v: %w", silent.Round(time.Second), err))
			}
		case <-scale.C:
			bytes, err := h.weigh(p)
			if err == nil {
				continue
			}
			if bytes > h.opts.MemoryLimit+h.opts.MemoryLimit/2 || time.Since(answered) > 2*h.opts.ProbeEvery {
				p.Kill() // there may be no time for a polite end, or nobody who hears of it
			}
			return h.end(p, err)
		case <-ctx.Done():
			return h.end(p, errStop)
		}
	}
}

// weigh measures the memory of a process. An error says that it is too much.
func (h *Host) weigh(p child) (bytes int64, err error) {
	bytes = p.Memory()
	h.state.change(func(s *source.Status) { s.RSS = bytes })
	if limit := h.opts.MemoryLimit; limit > 0 && bytes > limit {
		return bytes, fmt.Errorf("it used %d MiB of memory, more than runtime_memory allows (%d MiB)", bytes>>20, limit>>20)
	}
	return bytes, nil
}

// watchHealth asks the process regularly; the channel is closed some time after ctx
// has ended.
func (h *Host) watchHealth(ctx context.Context) <-chan error {
	results := make(chan error)
	go func() {
		defer close(results)
		tick := time.NewTicker(h.opts.ProbeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			once, cancel := context.WithTimeout(ctx, h.opts.ProbeLimit)
			err := h.probe(once)
			cancel()
			select {
			case results <- err:
			case <-ctx.Done():
				return
			}
		}
	}()
	return results
}

// end makes a process end, politely and then not, and returns cause.
func (h *Host) end(p child, cause error) error {
	if !errors.Is(cause, errStop) {
		h.logger().Warn("ending the Smithers process", zap.Int("pid", p.PID()), zap.Error(cause))
	}
	h.state.change(func(s *source.Status) { s.State, s.Err = source.Down, cause })
	p.Terminate()
	kill := time.NewTimer(h.opts.StopGrace)
	defer kill.Stop()
	reports := p.Reports()
	for {
		select {
		case _, ok := <-reports:
			if !ok {
				reports = nil
			}
		case <-kill.C:
			p.Kill()
		case <-p.Ended():
			return cause
		}
	}
}

func (h *Host) handle(r report) {
	switch r.Type {
	case reportResumed:
		h.logger().Info("a run that an ended process left goes on", zap.String("run", r.RunID))
	case reportBusy:
		if r.Runs == 0 && h.isRetiring() {
			h.cancel(errStop)
		}
	}
}
