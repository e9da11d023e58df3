package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// history is what this program has seen of a run, and whether it was whole.
type history struct {
	events  []*client.RunEvent
	problem error // the first thing that was not as promised
}

func (h *history) last() int64 {
	if len(h.events) == 0 {
		return 0
	}
	return h.events[len(h.events)-1].Seq
}

// take adds an item and reports whether all is well.
func (h *history) take(i client.Item) bool {
	switch {
	case i.Error != nil:
		h.problem = fmt.Errorf("the stream failed: %w", i.Error)
	case i.Gap != nil:
		h.problem = fmt.Errorf("the gateway reports a gap from #%d to #%d", i.Gap.FromSeq, i.Gap.ToSeq)
	case i.Event.Seq != h.last()+1:
		h.problem = fmt.Errorf("#%d came after #%d", i.Event.Seq, h.last())
	default:
		h.events = append(h.events, i.Event)
		return true
	}
	return false
}

// same compares two readings of one run.
func (h *history) same(other *history) error {
	if len(h.events) != len(other.events) {
		return fmt.Errorf("%d events here, %d in the history", len(h.events), len(other.events))
	}
	for i, e := range h.events {
		o := other.events[i]
		if e.Seq != o.Seq || e.Event != o.Event || e.StateVersion != o.StateVersion || !bytes.Equal(e.Payload, o.Payload) {
			return fmt.Errorf("#%d was %s %s, the history has #%d %s %s", e.Seq, e.Event, e.Payload, o.Seq, o.Event, o.Payload)
		}
	}
	if len(h.events) == 0 {
		return errors.New("the run has no events")
	}
	return nil
}

// gate is the newest approval asked for, or nil.
func (h *history) gate() *gate {
	for _, e := range slices.Backward(h.events) {
		if e.Event == "approval.requested" {
			var g gate
			if json.Unmarshal(e.Payload, &g) == nil {
				return &g
			}
		}
	}
	return nil
}

// finished lists the nodes that ended well, in that order.
func (h *history) finished() []gate {
	var nodes []gate
	for _, e := range h.events {
		var g gate
		if e.Event == "node.finished" && json.Unmarshal(e.Payload, &g) == nil {
			nodes = append(nodes, g)
		}
	}
	return nodes
}
