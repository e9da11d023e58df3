package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/internal/client"
)

const (
	storyTime = 2 * time.Minute // of the whole run
	cutAfter  = 15              // events, if no retry comes first
	awayTime  = time.Minute
	awayPoll  = 50 * time.Millisecond
)

// gate is an approval that the run waits for.
type gate struct {
	NodeID    string
	Iteration int
}

// story launches one run and watches it over two connections.
func (d *demo) story(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storyTime)
	defer cancel()

	d.c.step("Launching %s", d.c.paint(cyan, demoWorkflow))
	runID, err := d.client.Launch(ctx, demoWorkflow, nil)
	if err != nil {
		return fmt.Errorf("launchRun: %w", err)
	}
	d.c.say("  run %s", runID)

	seen := &history{}
	if err := d.watchThenCut(ctx, runID, seen); err != nil {
		return err
	}
	if err := d.whileAway(ctx, runID); err != nil {
		return err
	}
	if err := d.resume(ctx, runID, seen); err != nil {
		return err
	}
	if err := d.audit(ctx, runID, seen); err != nil {
		return err
	}
	return d.result(ctx, runID, seen)
}

// watchThenCut streams from the beginning and pulls the plug at the first retry, at
// a fixed number of events, or when the run would wait for us: whatever is first.
func (d *demo) watchThenCut(ctx context.Context, runID string, seen *history) error {
	d.c.step("Streaming its events over a WebSocket")
	from := int64(0)
	s, opened, err := d.open(ctx, runID, from)
	if err != nil {
		return err
	}
	defer s.Cut()
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		if !seen.take(i) {
			return false
		}
		d.c.say("%s", eventLine(d.c, i.Event, false))
		switch i.Event.Event {
		case "node.retrying", "approval.requested", "run.completed":
			return false
		}
		return len(seen.events) < cutAfter
	})
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if seen.problem != nil {
		return seen.problem
	}
	s.Cut()
	d.c.say("  %s", d.c.paint(red, fmt.Sprintf("✂ connection cut after #%d", seen.last())))
	return nil
}

func (d *demo) open(ctx context.Context, runID string, after int64) (*client.Socket, *client.StreamOpened, error) {
	s, err := d.client.Dial(ctx, client.DialOptions{Subscribe: []string{runID}})
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	opened, err := s.Stream(ctx, runID, &after)
	if err != nil {
		s.Cut()
		return nil, nil, fmt.Errorf("streamRunEvents after #%d: %w", after, err)
	}
	return s, opened, nil
}

// whileAway waits, without a stream, until the run has gone on: it needs nobody to
// watch it.
func (d *demo) whileAway(ctx context.Context, runID string) error {
	ctx, cancel := context.WithTimeout(ctx, awayTime)
	defer cancel()
	tick := time.NewTicker(awayPoll)
	defer tick.Stop()
	for {
		run, err := d.client.Run(ctx, runID)
		if err != nil {
			return fmt.Errorf("getRun: %w", err)
		}
		if run.Status == "waiting-approval" || run.Ended() {
			d.c.say("  %s", d.c.paint(dim, "… nobody is connected; the run is now "+run.Status+" …"))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the run is %s and asks for no approval: %w", run.Status, ctx.Err())
		}
	}
}

// resume reconnects with the last number seen, approves when asked, and stays to
// the end of the run.
func (d *demo) resume(ctx context.Context, runID string, seen *history) error {
	last := seen.last()
	d.c.step("Reconnecting with afterSeq %d", last)
	s, opened, err := d.open(ctx, runID, last)
	if err != nil {
		return err
	}
	defer s.Cut()
	d.c.say("  the gateway is at #%d: #%d to #%d were missed and come now", opened.CurrentSeq, last+1, opened.CurrentSeq)

	var failed error
	var decided bool
	waiting := seen.gate()
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		if !seen.take(i) {
			return false
		}
		missed := i.Event.Seq <= opened.CurrentSeq
		d.c.say("%s", eventLine(d.c, i.Event, missed))
		if i.Event.Event == "run.completed" {
			return false
		}
		if i.Event.Event == "approval.requested" {
			waiting = seen.gate()
		}
		if waiting != nil && !decided && i.Event.Seq >= opened.CurrentSeq {
			decided = true
			failed = d.approve(ctx, runID, waiting)
		}
		return failed == nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("stream: %w", err)
	case failed != nil:
		return failed
	case seen.problem != nil:
		return seen.problem
	case !decided:
		return errors.New("the run ended without asking for an approval")
	}
	return s.Close()
}

func (d *demo) approve(ctx context.Context, runID string, g *gate) error {
	d.c.step("Approving %s", g.NodeID)
	err := d.client.Call(ctx, "submitApproval", map[string]any{
		"runId": runID, "nodeId": g.NodeID, "iteration": g.Iteration, "approved": true, "note": "looks good",
	}, nil)
	if err != nil {
		return fmt.Errorf("submitApproval: %w", err)
	}
	return nil
}

// audit reads the whole history again over a third connection and compares it with
// what the first two delivered together.
func (d *demo) audit(ctx context.Context, runID string, seen *history) error {
	s, opened, err := d.open(ctx, runID, 0)
	if err != nil {
		return err
	}
	defer s.Cut()
	again := &history{}
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		return again.take(i) && again.last() < opened.CurrentSeq
	})
	if err != nil {
		return fmt.Errorf("reading the history again: %w", err)
	}
	if again.problem != nil {
		return again.problem
	}
	if err := seen.same(again); err != nil {
		return err
	}
	d.c.step("Nothing is missing")
	d.c.say("  %s %d events, #1 to #%d, each once and in order, over two connections", d.c.paint(green, "✓"), len(seen.events), seen.last())
	d.c.say("  %s the same as a third connection reads from the beginning", d.c.paint(green, "✓"))
	return nil
}

// result prints what the run and its nodes produced.
func (d *demo) result(ctx context.Context, runID string, seen *history) error {
	run, err := d.client.Run(ctx, runID)
	if err != nil {
		return fmt.Errorf("getRun: %w", err)
	}
	if run.Status != "finished" {
		return fmt.Errorf("the run ended %s, not finished", run.Status)
	}
	d.c.step("Result: %s", d.c.paint(green, run.Status))
	for _, node := range seen.finished() {
		var out struct {
			Status string
			Row    json.RawMessage
		}
		err := d.client.Call(ctx, "getNodeOutput", map[string]any{"runId": runID, "nodeId": node.NodeID, "iteration": node.Iteration}, &out)
		switch {
		case client.IsCode(err, "NodeHasNoOutput"):
		case err != nil:
			return fmt.Errorf("getNodeOutput %s: %w", node.NodeID, err)
		case out.Status == "produced":
			d.c.say("  %-14s %s", node.NodeID, clip(string(out.Row), 90))
		}
	}
	return nil
}
