package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// follower reads the stream of a run to its end, through as many sockets as it takes.
type follower struct {
	f    *Fleet
	run  string
	name string
	seen chan<- string // nil: nobody waits for events
	sse  bool          // over server-sent events
	last int64
	over bool
}

func (w *follower) follow(c *client.Client) error {
	once := w.once
	if w.sse {
		once = w.onceSSE
	}
	for !w.over {
		err := once(c)
		if err != nil && !errors.Is(err, errTransient) {
			return err
		}
		if w.over {
			break
		}
		if err := w.f.sleep(); err != nil {
			return err
		}
	}
	return nil
}

// once follows through one socket.
func (w *follower) once(c *client.Client) error {
	ctx, cancel := context.WithTimeout(w.f.ctx, time.Minute)
	defer cancel()
	dialling, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	s, err := c.Dial(dialling, client.DialOptions{})
	if err != nil {
		return transient(err)
	}
	defer s.Cut()
	defer w.f.cuts.add(s.Cut)()
	opened, err := s.Stream(dialling, w.run, &w.last)
	if err != nil {
		return transient(err)
	}
	var bad error
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		bad = w.take(i)
		return bad == nil && !w.over
	})
	if bad != nil {
		return bad
	}
	if err != nil { // the socket ended, or nothing came for long
		return fmt.Errorf("%w: %w", errTransient, err)
	}
	return nil
}

// onceSSE follows through one stream of server-sent events.
func (w *follower) onceSSE(c *client.Client) error {
	ctx, cancel := context.WithTimeout(w.f.ctx, time.Minute)
	defer cancel()
	defer w.f.cuts.add(cancel)()
	events, err := rig.OpenEvents(ctx, c, w.run, w.last)
	if err != nil {
		return transient(err)
	}
	var bad error
	err = events.Follow(func(i client.Item) bool {
		bad = w.take(i)
		return bad == nil && !w.over
	})
	if bad != nil || w.over {
		return bad
	}
	return fmt.Errorf("%w: %w", errTransient, errors.Join(err, ctx.Err()))
}

func (w *follower) take(i client.Item) error {
	switch {
	case i.Error != nil:
		return fmt.Errorf("stream ended: %w", i.Error)
	case i.Gap != nil:
		w.f.ledger.Add(rig.Entry{Kind: rig.EntryGap, Run: w.run, Follower: w.name, Seq: i.Gap.ToSeq})
		if !w.f.Gaps || i.Gap.FromSeq != w.last+1 {
			return fmt.Errorf("gap from %d to %d after %d", i.Gap.FromSeq, i.Gap.ToSeq, w.last)
		}
		w.last = i.Gap.ToSeq
		return nil
	}
	e := i.Event
	w.f.ledger.Add(eventEntry(w.name, e))
	if e.Seq != w.last+1 {
		return fmt.Errorf("event %d came after %d", e.Seq, w.last)
	}
	w.last = e.Seq
	w.over = e.Event == "run.completed"
	if w.seen != nil {
		select {
		case w.seen <- e.Event:
		default: // nobody waits for that many
		}
	}
	return nil
}

func eventEntry(follower string, e *client.RunEvent) rig.Entry {
	entry := rig.Entry{
		Kind: rig.EntryEvent, Follower: follower, Run: e.RunID, Seq: e.Seq, StateVersion: e.StateVersion, Event: e.Event, Payload: e.Payload,
	}
	var node struct {
		NodeID             string
		Iteration, Attempt int
	}
	if json.Unmarshal(e.Payload, &node) == nil {
		entry.Node, entry.Iteration, entry.Attempt = node.NodeID, node.Iteration, node.Attempt
	}
	return entry
}

// Replay reads every run of the ledger, and the child runs, once more from the first
// event, as a client does that comes late.
func (f *Fleet) Replay() error {
	c := f.site.Client(f.token)
	defer c.HTTP.CloseIdleConnections()
	for _, e := range f.ledger.Entries() {
		if e.Kind != rig.EntryAck || e.Method != ackLaunch {
			continue
		}
		runs := []string{e.Run}
		if e.Value == "family" {
			runs = append(runs, e.Run+":child:leaf:0")
		}
		for _, run := range runs {
			if err := (&follower{f: f, run: run, name: "replay"}).follow(c); err != nil {
				return fmt.Errorf("replay of %s: %w", run, err)
			}
		}
	}
	return nil
}
