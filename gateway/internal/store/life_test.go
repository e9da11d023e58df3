package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkRunLife is all that runs of one task write, from launch to end: a unit for each
// half, with as many runs as the name says in the same two commits. Without syncs, so that it
// shows the processor's part.
func BenchmarkRunLife(b *testing.B) {
	for _, atOnce := range []int{1, 8} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			s := open(b, func(o *Options) { o.Durability, o.Checkpoint = DurabilityNormal, CheckpointExternal })
			n := 0
			lives := func(atOnce int) {
				var wg sync.WaitGroup
				hold := make(chan struct{})
				s.Submit(func(*Tx) error { <-hold; return nil }, nil) // what comes meanwhile is in one commit
				for range atOnce {
					n++
					l := life{id: fmt.Sprintf("019a%08x-7c1f-8a3b-4c5d-%012x", n, n*7919), at: 1_795_000_000_000 + int64(n)}
					wg.Add(1)
					s.SubmitRepeatable(l.launch, func(err error) {
						if err != nil {
							b.Error(err)
						}
						s.SubmitRepeatable(l.end, func(err error) {
							if err != nil {
								b.Error(err)
							}
							wg.Done()
						})
					})
				}
				close(hold)
				wg.Wait()
			}
			for range 200 {
				lives(16) // a database that is not empty
			}
			commits, log := s.Commits(), s.Stats().WALBytes
			for b.Loop() {
				lives(atOnce)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N*atOnce), "µs/run")
			b.ReportMetric(float64(s.Stats().WALBytes-log)/4120/float64(s.Commits()-commits), "frames/commit")
		})
	}
}

// life is a run of one task.
type life struct {
	id string
	at int64
}

func (l life) event(typ, name string) *Event {
	payload := json.RawMessage(fmt.Sprintf(`{"runId":%q,"nodeId":"task","state":"pending","iteration":0,"attempt":1}`, l.id))
	return &Event{Type: typ, Name: name, Payload: payload, AtMs: l.at}
}

func (l life) node(state string) *Node {
	return &Node{NodeID: "task", Kind: "task", ArgsHash: strings.Repeat("ef", 32), Ordinal: 1, Label: "task", State: state,
		Options: json.RawMessage(`{"task":{"label":"task"}}`), Attempt: 1, CreatedAtMs: l.at, UpdatedAtMs: l.at}
}

func (l life) launch(tx *Tx) error {
	r := aRun(l.id)
	r.Version, r.LaunchHash = strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	r.CreatedAtMs, r.StartedAtMs, r.HeartbeatAtMs, r.Owner = l.at, l.at, l.at, "host:12345"
	return errors.Join(
		tx.InsertRun(r),
		tx.Append(l.id, l.event("RunStarted", "")),
		tx.InsertAudit(&AuditEntry{AtMs: l.at, Action: "launch", RunID: l.id, Actor: "alice", Remote: "127.0.0.1"}),
		tx.Append(l.id, l.event("NodePending", "node.pending")),
		tx.UpsertNode(l.id, l.node("in-progress")),
		tx.UpsertAttempt(l.id, &Attempt{NodeID: "task", Attempt: 1, State: "in-progress", StartedAtMs: l.at}),
		tx.Append(l.id, l.event("NodeStarted", "node.started")),
	)
}

func (l life) end(tx *Tx) error {
	n := l.node("finished")
	n.Output, n.Position, n.SettledAtMs = json.RawMessage(`{"ok":true}`), 1, l.at
	r, err := tx.Run(l.id)
	if err != nil {
		return err
	}
	r.Status, r.FinishedAtMs, r.Owner, r.HeartbeatAtMs, r.LastPosition, r.Output = "finished", l.at, "", 0, 1, n.Output
	return errors.Join(
		tx.UpsertNode(l.id, n),
		tx.UpsertAttempt(l.id, &Attempt{NodeID: "task", Attempt: 1, State: "finished", StartedAtMs: l.at, FinishedAtMs: l.at}),
		tx.Append(l.id, l.event("NodeFinished", "node.finished")),
		tx.Append(l.id, l.event("RunFinished", "run.completed")),
		tx.UpdateRun(r),
	)
}

// What the benchmark measures is a run as it should be.
func TestRunLife(t *testing.T) {
	s := open(t)
	l := life{id: "r", at: 5}
	update(t, s, l.launch)
	update(t, s, l.end)
	view(t, s, func(v *View) {
		r, err := v.Run("r")
		require.NoError(t, err)
		require.Equal(t, "finished", r.Status)
		events, err := v.EventsLog("r", -1, 10)
		require.NoError(t, err)
		require.Len(t, events, 5)
	})
}
