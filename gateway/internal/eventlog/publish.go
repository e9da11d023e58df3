package eventlog

import "github.com/smithersai/caddy-smithers/gateway/internal/store"

// runShare is the part of the byte budget that one run's ring may take.
const runShare = 4

// Publish places committed events, in commit order, in their windows and wakes the
// cursors. Events without a name are durable only and skipped. It never blocks on
// readers and never reads the store. The events must not change any more.
func (l *Log) Publish(events []*store.Event) {
	if len(events) == 0 || l.closed.Load() {
		return
	}
	o := l.opts.Load()
	l.publishMu.Lock()
	defer l.publishMu.Unlock()

	var version int64
	for i := 0; i < len(events); {
		j := i + 1
		for j < len(events) && events[j].RunID == events[i].RunID {
			j++
		}
		if r, v := l.publishRun(events[i:j], o); r != nil {
			l.touched = append(l.touched, r)
			version = max(version, v)
		}
		i = j
	}
	if len(l.touched) == 0 {
		return
	}
	l.AdvanceStateVersion(version)
	l.plain.publish(events, o.PlainBytes)
	l.evict(o.RingBytes)
	l.thin(2 * len(l.touched))
	// Waking comes last, so that a reader finds the whole batch at once.
	for i, r := range l.touched {
		r.wake()
		l.touched[i] = nil
	}
	l.touched = l.touched[:0]
	l.plain.wakePending()
}

// publishRun appends events of one run; nil when none of them is pushed.
func (l *Log) publishRun(events []*store.Event, o *Options) (*run, int64) {
	first := 0
	for first < len(events) && events[first].Name == "" {
		first++
	}
	if first == len(events) {
		return nil, 0
	}
	r := l.window(events[0].RunID)
	var version int64
	r.mu.Lock()
	for _, ev := range events[first:] {
		if ev.Name != "" {
			r.append(ev, o.Window, o.RingBytes/runShare)
			version = ev.StateVersion
		}
	}
	bytes := r.bytes
	r.mu.Unlock()
	l.lru.touch(r, bytes)
	return r, version
}

// window returns the window of a run, creating it. Only Publish calls it: under
// publishMu nothing is evicted between finding the window and filling it.
func (l *Log) window(runID string) *run {
	s := l.shard(runID)
	s.mu.RLock()
	r := s.runs[runID]
	s.mu.RUnlock()
	if r != nil {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r = s.runs[runID]; r == nil {
		r = &run{id: runID}
		s.runs[runID] = r
	}
	return r
}

// Barrier waits for a Publish under way. An event that a cursor's Opened knows of
// is then also in the plain ring.
func (l *Log) Barrier() {
	l.publishMu.Lock()
	defer l.publishMu.Unlock()
}
