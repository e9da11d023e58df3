package host

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Bounds of what is taken together.
const (
	repeatWindow = time.Minute
	maxRepeats   = 256 // different messages that are counted at once
	minValue     = 6   // bytes of a field's value that may make two messages differ
)

// repeats keeps warnings that a logger of the process writes again and again from filling
// the log: the first of a minute is written, and with the next one, or at the end, how
// many there were in between. Messages that differ only by the values of their own
// fields, such as the id of a run in a path, are alike.
type repeats struct {
	mu   sync.Mutex
	seen map[string]*repeated
}

type repeated struct {
	since time.Time
	last  logEntry
	count int // since the one that was written
}

// take returns what is to be written for an entry.
func (r *repeats) take(e logEntry) (write []logEntry) {
	if e.level < zapcore.WarnLevel || len(e.values) == 0 {
		return []logEntry{e}
	}
	key := e.level.String() + " " + alike(e)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[key]
	if s != nil && now.Sub(s.since) < repeatWindow {
		s.count++
		s.last = e
		return nil
	}
	if s == nil && len(r.seen) >= maxRepeats {
		write = r.drain()
	}
	if r.seen == nil {
		r.seen = map[string]*repeated{}
	}
	if s != nil && s.count > 0 {
		e.fields = append(e.fields[:len(e.fields):len(e.fields)], zap.Int("repeated", s.count))
	}
	r.seen[key] = &repeated{since: now}
	return append(write, e)
}

// end returns what was not written yet.
func (r *repeats) end() []logEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drain()
}

func (r *repeats) drain() (write []logEntry) {
	for _, s := range r.seen {
		if s.count > 0 {
			s.last.fields = append(s.last.fields[:len(s.last.fields):len(s.last.fields)], zap.Int("repeated", s.count-1))
			write = append(write, s.last)
		}
	}
	r.seen = nil
	return write
}

// alike is the message without the values of the entry's own fields.
func alike(e logEntry) string {
	text := e.message
	for name, value := range e.values {
		if len(value) >= minValue {
			text = strings.ReplaceAll(text, value, "{"+name+"}")
		}
	}
	return text
}
