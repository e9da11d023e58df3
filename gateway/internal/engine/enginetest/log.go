package enginetest

import (
	"context"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Events returns the whole durable log of a run.
func Events(st *store.Store, runID string) (events []*store.Event, err error) {
	err = st.View(context.Background(), func(v *store.View) (err error) {
		events, err = v.EventsLog(runID, -1, 100_000)
		return err
	})
	return events, err
}

// Lines returns the durable log of a run as text, one event a line: type, pushed
// name, payload, and what only the log shows.
func Lines(st *store.Store, runID string) ([]string, error) {
	events, err := Events(st, runID)
	if err != nil {
		return nil, err
	}
	lines := make([]string, len(events))
	for i, ev := range events {
		lines[i] = ev.Type + " " + ev.Name + " " + string(ev.Payload)
		if len(ev.Detail) > 0 {
			lines[i] += " " + string(ev.Detail)
		}
	}
	return lines, nil
}

// CheckNumbers returns an error unless every number of an ended run's log exists
// once, without gaps, and the run's end was told once: again after a retry or a rewind.
func CheckNumbers(st *store.Store, runID string) error {
	events, err := Events(st, runID)
	if err != nil {
		return err
	}
	ends, seq, version := 0, int64(0), int64(0)
	for i, ev := range events {
		if ev.LogSeq != int64(i) {
			return fmt.Errorf("event %d of %s has log number %d", i, runID, ev.LogSeq)
		}
		switch {
		case ev.Name == wire.EventRunCompleted:
			ends++
		case (ev.Type == wire.TypeTaskRetryRequested || ev.Type == wire.TypeTimeTravelJumped) && ends == 1:
			ends = 0
		}
		if ev.Seq == 0 {
			continue
		}
		if seq++; ev.Seq != seq {
			return fmt.Errorf("pushed event %d of %s has seq %d", seq, runID, ev.Seq)
		}
		if ev.StateVersion <= version {
			return fmt.Errorf("state version of %s went from %d to %d", runID, version, ev.StateVersion)
		}
		version = ev.StateVersion
	}
	if ends != 1 {
		return fmt.Errorf("the end of %s was told %d times", runID, ends)
	}
	return nil
}
