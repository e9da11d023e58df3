package wsconn

import (
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// streamCaps counts the run streams of all sockets.
type streamCaps struct {
	mu     sync.Mutex
	total  int
	byUser map[string]int
	byRun  map[string]int
}

func (s *streamCaps) init() { s.byUser, s.byRun = make(map[string]int), make(map[string]int) }

// take counts one more stream, or says which cap is reached. onConn are the streams
// the connection has already.
func (s *streamCaps) take(o *Options, user, runID string, onConn int) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range [...]struct {
		scope      string
		have, most int
	}{
		{"global", s.total, o.StreamsTotal},
		{"user", s.byUser[user], o.StreamsPerUser},
		{"connection", onConn, o.StreamsPerConn},
		{"run", s.byRun[runID], o.StreamsPerRun},
	} {
		if c.have >= c.most {
			return wire.Errorf(wire.CodeRateLimited, "Gateway run-event subscriber limit reached (%s cap of %d).", c.scope, c.most).
				With("scope", c.scope).With("limit", c.most)
		}
	}
	s.total++
	s.byUser[user]++
	s.byRun[runID]++
	return nil
}

func (s *streamCaps) give(user, runID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.byUser[user]--; s.byUser[user] <= 0 {
		delete(s.byUser, user)
	}
	if s.byRun[runID]--; s.byRun[runID] <= 0 {
		delete(s.byRun, runID)
	}
}

func (s *streamCaps) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
