package upstream

import (
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Lag is how far this gateway is behind a source.
type Lag struct {
	Source source.Source
	Runs   int // with something in their logs that is to be read or merged
	Events int // handed over and not merged yet; what is to be asked for has no number before
	// Contact is when the source was last heard of: an answer, a push, a tick. Zero: never.
	Contact time.Time
}

// Lag tells of every source in use, the one that is read first.
func (f *Federation) Lag() (lags []Lag) {
	f.mu.Lock()
	reads := f.reading()
	all := append([]*attached(nil), f.former...)
	if f.current != nil {
		all = append(all, f.current)
	}
	f.mu.Unlock()
	for _, a := range all {
		l := Lag{Source: a.source}
		if ms := a.heard.Load(); ms > 0 {
			l.Contact = time.UnixMilli(ms)
		}
		if a == reads { // all of them have one database
			l.Runs, l.Events = f.queue.len(), f.handed.len()
			lags = append([]Lag{l}, lags...)
		} else {
			lags = append(lags, l)
		}
	}
	return lags
}

// hear notes that the source is there.
func (p *peer) hear() { p.heard.Store(time.Now().UnixMilli()) }
