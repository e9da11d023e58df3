package client

import (
	"context"
	"encoding/json"
	"fmt"
)

// Item is one thing a run stream delivered: exactly one member is set.
type Item struct {
	Event *RunEvent
	Gap   *Gap
	Error *Error // the stream is gone
}

// Seq is the number of the event; 0 for the other kinds.
func (i Item) Seq() int64 {
	if i.Event == nil {
		return 0
	}
	return i.Event.Seq
}

// Follow reads frames of one stream and hands them to each until that returns
// false, the stream fails, or the socket ends. Heartbeats, ticks and frames of
// others are skipped.
func (s *Socket) Follow(ctx context.Context, streamID string, each func(Item) bool) error {
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return err
		}
		item, ok, err := f.item(streamID)
		if err != nil {
			return err
		}
		if ok && !each(item) {
			return nil
		}
	}
}

func (f *Frame) item(streamID string) (Item, bool, error) {
	var head struct{ StreamID string }
	var target any
	var item Item
	switch f.Event {
	case "run.event":
		item.Event = new(RunEvent)
		target = item.Event
	case "run.gap_resync":
		item.Gap = new(Gap)
		target = item.Gap
	case "run.error":
		var wrapped struct {
			StreamID string
			Error    *Error
		}
		if err := json.Unmarshal(f.Payload, &wrapped); err != nil {
			return item, false, fmt.Errorf("%s: %w", f.Event, err)
		}
		return Item{Error: wrapped.Error}, wrapped.StreamID == streamID, nil
	default:
		return item, false, nil
	}
	if err := json.Unmarshal(f.Payload, &head); err != nil {
		return item, false, fmt.Errorf("%s: %w", f.Event, err)
	}
	if head.StreamID != streamID {
		return item, false, nil
	}
	if err := json.Unmarshal(f.Payload, target); err != nil {
		return item, false, fmt.Errorf("%s: %w", f.Event, err)
	}
	return item, true, nil
}
