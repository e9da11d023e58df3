package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkLoneCommit is one small unit at a time: what an idle gateway's caller waits.
func BenchmarkLoneCommit(b *testing.B) {
	s := open(b)
	withRun(b, s, "r")
	ctx := context.Background()
	for i := 0; b.Loop(); i++ {
		require.NoError(b, s.Update(ctx, func(tx *Tx) error { return tx.Append("r", pushed(i)) }))
	}
}

// BenchmarkBatchedRows submits units of one event each, as fast as the queue takes them.
func BenchmarkBatchedRows(b *testing.B) { benchUnits(b, 1) }

// BenchmarkAppendEvents submits units of ten events each.
func BenchmarkAppendEvents(b *testing.B) { benchUnits(b, 10) }

func benchUnits(b *testing.B, perUnit int) {
	s := open(b)
	for r := range 16 {
		withRun(b, s, fmt.Sprint("r", r))
	}
	events := make([]*Event, 1024)
	for i := range events {
		events[i] = pushed(i)
	}
	var wg sync.WaitGroup
	n := 0
	for b.Loop() {
		run := fmt.Sprint("r", n%16)
		first := n
		wg.Add(1)
		s.Submit(func(tx *Tx) error {
			for i := range perUnit {
				ev := *events[(first+i)%len(events)]
				if err := tx.Append(run, &ev); err != nil {
					return err
				}
			}
			return nil
		}, func(err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
		n++
	}
	wg.Wait()
	b.ReportMetric(float64(n*perUnit)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkUnit is what `make bench-spikes` sets beside Postgres: units of a journal row
// and two events of about 170 bytes, one after the other and 64 at a time.
func BenchmarkUnit(b *testing.B) {
	payload := json.RawMessage(fmt.Sprintf(`{"runId":"r","nodeId":"task","state":"finished","output":%q}`, strings.Repeat("x", 100)))
	for _, atOnce := range []int{1, 64} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			s := open(b)
			for r := range 16 {
				withRun(b, s, fmt.Sprint("r", r))
			}
			free := make(chan struct{}, atOnce)
			n := 0
			for b.Loop() {
				run, node := fmt.Sprint("r", n%16), Node{NodeID: fmt.Sprint("n", n), Kind: "task", State: "finished", Attempt: 1, Output: payload}
				free <- struct{}{}
				s.Submit(func(tx *Tx) error {
					row := node
					return errors.Join(tx.UpsertNode(run, &row),
						tx.Append(run, &Event{Type: "NodeStarted", Name: "node.started", Payload: payload, AtMs: 1}),
						tx.Append(run, &Event{Type: "NodeFinished", Name: "node.finished", Payload: payload, AtMs: 1}))
				}, func(err error) {
					if err != nil {
						b.Error(err)
					}
					<-free
				})
				n++
			}
			for range atOnce {
				free <- struct{}{} // the last ones, too
			}
		})
	}
}
