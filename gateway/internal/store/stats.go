package store

import "time"

// Stats are figures for metrics. Totals count since Open.
type Stats struct {
	DBBytes    int64
	WALBytes   int64
	Commits    int64         // transactions
	Units      int64         // units in them
	Events     int64         // events in them
	CommitTime time.Duration // from BEGIN to the end of COMMIT, in all
	Queue      int           // units that wait now
}

// Commits is Stats.Commits alone, which costs no look at the files.
func (s *Store) Commits() int64 { return s.commits.Load() }

// Stats may be called at any time, after Close too.
func (s *Store) Stats() Stats {
	return Stats{
		DBBytes:    fileBytes(s.path),
		WALBytes:   walBytes(s.path),
		Commits:    s.commits.Load(),
		Units:      s.units.Load(),
		Events:     s.events.Load(),
		CommitTime: time.Duration(s.commitNanos.Load()),
		Queue:      s.queue.len(),
	}
}
