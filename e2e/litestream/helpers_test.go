package litestream

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // reads the copy of a database

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// holds reports whether a copy of the database is sound and has all events of a run.
func holds(t *testing.T, path, runID string, events int) bool {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	var sound string
	require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&sound))
	require.Equal(t, "ok", sound)
	var n int
	err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM gateway_events NATURAL JOIN (SELECT rid FROM gateway_runs WHERE run_id = ?) WHERE seq > 0", runID).Scan(&n)
	return err == nil && n >= events
}

// runsIn counts the runs in a copy of the database.
func runsIn(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM gateway_runs").Scan(&n))
	return n
}

// follow returns what a client with a number gets up to the end of a run.
func follow(t *testing.T, p *rig.Process, runID string, after int64) (events []*client.RunEvent, gap *client.Gap) {
	t.Helper()
	return read(t, p, runID, after, true)
}

// history returns the events of a run so far.
func history(t *testing.T, p *rig.Process, runID string, after int64) []*client.RunEvent {
	t.Helper()
	events, gap := read(t, p, runID, after, false)
	require.Nil(t, gap)
	return events
}

func read(t *testing.T, p *rig.Process, runID string, after int64, toEnd bool) (events []*client.RunEvent, gap *client.Gap) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	socket := p.Dial()
	defer socket.Cut()
	opened, err := socket.Stream(ctx, runID, &after)
	require.NoError(t, err)
	require.NoError(t, socket.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		require.Nil(t, i.Error)
		if i.Gap != nil {
			gap = i.Gap
			return true
		}
		events = append(events, i.Event)
		if toEnd {
			return i.Event.Event != "run.completed"
		}
		return i.Event.Seq < opened.CurrentSeq
	}))
	return events, gap
}

// idle reports that no run is at work.
func idle(p *rig.Process) bool {
	var runs []client.Run
	if p.Call(p.T.Context(), "listRuns", map[string]any{"limit": 500}, &runs) != nil {
		return false
	}
	for _, r := range runs {
		if r.Status == "running" {
			return false
		}
	}
	return len(runs) > 1
}
