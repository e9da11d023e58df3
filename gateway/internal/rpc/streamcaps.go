package rpc

import (
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// StreamLimits bound how many run streams are open at once.
type StreamLimits struct {
	Total   int
	PerUser int
	PerConn int // of one connection of the client
	PerRun  int
}

// StreamCaps counts the run streams of every transport together, so that a client
// gains nothing by mixing them. Safe for concurrent use; use NewStreamCaps.
type StreamCaps struct {
	mu     sync.Mutex
	total  int
	byUser map[string]int
	byRun  map[string]int
}

// NewStreamCaps returns an empty count.
func NewStreamCaps() *StreamCaps {
	return &StreamCaps{byUser: make(map[string]int), byRun: make(map[string]int)}
}

// Take counts one more stream, to be given back by Give, or says which cap is
// reached. onConn are the streams the connection has already.
func (s *StreamCaps) Take(l StreamLimits, user, runID string, onConn int) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range [...]struct {
		scope      string
		have, most int
	}{
		{"global", s.total, l.Total},
		{"user", s.byUser[user], l.PerUser},
		{"connection", onConn, l.PerConn},
		{"run", s.byRun[runID], l.PerRun},
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

// Give takes back one Take.
func (s *StreamCaps) Give(user, runID string) {
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

// Count is the number of open streams.
func (s *StreamCaps) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
