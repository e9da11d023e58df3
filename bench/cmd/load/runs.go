package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// launchRuns keeps a number of one-task runs in flight for a while.
func launchRuns(ctx context.Context, g *gateway, o options) ([]figure, error) {
	s, err := g.Dial(ctx, client.DialOptions{})
	if err != nil {
		return nil, err
	}
	defer s.Cut()
	board := &board{ended: map[string]bool{}, waiting: map[string]chan struct{}{}}
	go board.follow(ctx, s)

	before, err := g.commits(ctx)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	end := begin.Add(time.Duration(o.seconds) * time.Second)
	times := make([][]time.Duration, o.inFlight)
	errs := make(chan error, o.inFlight)
	for i := range o.inFlight {
		go func() {
			for time.Now().Before(end) {
				start := time.Now()
				id, err := g.Launch(ctx, "one", nil)
				if err == nil {
					err = board.wait(ctx, id)
				}
				if err != nil {
					errs <- fmt.Errorf("run %d of worker %d: %w", len(times[i]), i, err)
					return
				}
				times[i] = append(times[i], time.Since(start))
			}
			errs <- nil
		}()
	}
	for range o.inFlight {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	took := time.Since(begin).Seconds()
	after, err := g.commits(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return []figure{
		{fmt.Sprintf("runs of one task, %d in flight", o.inFlight), float64(len(all)) / took, "runs/s"},
		{"launch to run.completed, median", float64(all[len(all)/2].Microseconds()), "µs"},
		{"launch to run.completed, 99th percentile", float64(all[len(all)*99/100].Microseconds()), "µs"},
		{"commits meanwhile", (after - before) / took, "commits/s"},
	}, nil
}

// board knows which runs have ended, from the plain events of one socket.
type board struct {
	mu      sync.Mutex
	ended   map[string]bool
	waiting map[string]chan struct{}
}

func (b *board) follow(ctx context.Context, s *client.Socket) {
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return
		}
		if f.Event != "run.completed" {
			continue
		}
		var p struct{ RunID string }
		if json.Unmarshal(f.Payload, &p) != nil {
			continue
		}
		b.mu.Lock()
		if w, ok := b.waiting[p.RunID]; ok {
			delete(b.waiting, p.RunID)
			close(w)
		} else {
			b.ended[p.RunID] = true
		}
		b.mu.Unlock()
	}
}

func (b *board) wait(ctx context.Context, id string) error {
	b.mu.Lock()
	if b.ended[id] {
		delete(b.ended, id)
		b.mu.Unlock()
		return nil
	}
	w := make(chan struct{})
	b.waiting[id] = w
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-w:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not end: %w", id, ctx.Err())
	}
}
