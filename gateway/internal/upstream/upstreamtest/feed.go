package upstreamtest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
)

// feed is a connection that rows are handed over by.
type feed struct {
	conn  net.Conn
	lines chan []byte
	done  sync.WaitGroup
	count int
}

// HandOver allows Feed.
func (f *Fake) HandOver() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hands = true
}

// Feed hands the rows of all logs over from now on, as source.Feeder says.
func (f *Fake) Feed(context.Context) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.hands || f.server == nil && f.Socket != "" {
		return nil, errors.New("the fake hands nothing over")
	}
	f.cutFeed()
	ours, theirs := net.Pipe()
	fd := &feed{conn: ours, lines: make(chan []byte, 10_000)}
	fd.lines <- []byte("{}")
	fd.done.Go(func() {
		for line := range fd.lines {
			_, _ = ours.Write(append(line, '\n')) // nobody may read any more
		}
	})
	f.feed = fd
	return theirs, nil
}

// cutFeed ends the connection. mu is held.
func (f *Fake) cutFeed() {
	if f.feed != nil {
		_ = f.feed.conn.Close()
		close(f.feed.lines)
		f.feed.done.Wait()
		f.feed = nil
	}
}

// handOver hands the newest row of a log over, behind the one before. mu is held.
func (f *Fake) handOver(r *Run) {
	if f.feed == nil {
		return
	}
	f.feed.count++
	if n := f.faults.Withhold; n > 0 && f.feed.count%n == 0 {
		return
	}
	line, err := json.Marshal(map[string]any{"run": r.ID, "rows": r.Log[max(0, len(r.Log)-2):]})
	if err != nil {
		f.t.Error(err)
	}
	f.feed.lines <- line
	if f.faults.Twice {
		f.feed.lines <- line
	}
}

// Fed reports whether there is a feed.
func (f *Fake) Fed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feed != nil
}
