package eventlog

import "sync"

// lru orders windows by their last publication or attachment and sums their bytes.
type lru struct {
	mu    sync.Mutex
	root  run // sentinel: root.next is the most recent, root.prev the oldest
	count int
	bytes int64
}

func (u *lru) init() { u.root.next, u.root.prev = &u.root, &u.root }

// touch makes r the most recent and records its size.
func (u *lru) touch(r *run, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	bytes += runOverhead
	if r.next == nil {
		u.count++
	} else {
		r.prev.next, r.next.prev = r.next, r.prev
	}
	u.bytes += bytes - r.weight
	r.weight = bytes
	r.prev, r.next = &u.root, u.root.next
	r.next.prev, u.root.next = r, r
}

// renew makes r the most recent without a change of its size.
func (u *lru) renew(r *run) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.next == nil {
		return
	}
	r.prev.next, r.next.prev = r.next, r.prev
	r.prev, r.next = &u.root, u.root.next
	r.next.prev, u.root.next = r, r
}

func (u *lru) remove(r *run) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.next == nil {
		return
	}
	r.prev.next, r.next.prev = r.next, r.prev
	r.prev, r.next = nil, nil
	u.count--
	u.bytes -= r.weight
	r.weight = 0
}

// oldest returns the least recent window, nil when there is none.
func (u *lru) oldest() *run {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.root.prev == &u.root {
		return nil
	}
	return u.root.prev
}

func (u *lru) size() (int, int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count, u.bytes
}

// evict empties the least recent windows until the budget holds. Windows without a
// cursor are forgotten, those with one only lose their ring. publishMu is held.
func (l *Log) evict(budget int64) {
	n, bytes := l.lru.size()
	for ; n > 0 && bytes > budget; n-- {
		r := l.lru.oldest()
		if r == nil {
			return
		}
		s := l.shard(r.id)
		s.mu.Lock()
		if s.runs[r.id] != r || r.refs == 0 {
			if s.runs[r.id] == r {
				delete(s.runs, r.id)
			}
			l.lru.remove(r)
		} else {
			l.lru.touch(r, 0)
		}
		s.mu.Unlock()
		r.drop()
		_, bytes = l.lru.size()
	}
}

// maxWindows is how many windows are kept, as far as nobody reads them: most runs park
// or end after a few events, and their windows are soon nobody's.
const maxWindows = 4096

// thin forgets the least recent windows without a cursor while there are too many
// windows, looking at no more than steps of them. publishMu is held.
func (l *Log) thin(steps int) {
	for n, _ := l.lru.size(); n > maxWindows && steps > 0; steps-- {
		r := l.lru.oldest()
		s := l.shard(r.id)
		s.mu.Lock()
		if s.runs[r.id] == r && r.refs > 0 {
			l.lru.renew(r)
			s.mu.Unlock()
			continue
		}
		if s.runs[r.id] == r {
			delete(s.runs, r.id)
		}
		l.lru.remove(r)
		s.mu.Unlock()
		r.drop()
		n--
	}
}

// acquire returns the window of a run, creating an unloaded one, and keeps it from
// being forgotten until release.
func (l *Log) acquire(runID string) *run {
	s := l.shard(runID)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.runs[runID]
	if r == nil {
		r = &run{id: runID}
		s.runs[runID] = r
	}
	r.refs++
	return r
}

// release undoes acquire; a window that never learned anything is forgotten.
func (l *Log) release(r *run) {
	s := l.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.refs--
	r.mu.RLock()
	blank := !r.loaded
	r.mu.RUnlock()
	if r.refs == 0 && blank && s.runs[r.id] == r {
		delete(s.runs, r.id)
	}
}
