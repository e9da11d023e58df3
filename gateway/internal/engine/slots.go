package engine

import (
	"slices"
	"sync"
)

// share is what a run takes of the slots, and for whom: the user that launched it, or
// the run that it is a child of.
type share struct {
	weight int
	user   string
}

// slots bounds the machines in memory. Users take turns; runs of one user are served
// first come, first served. One user never holds all slots, and a run that is only
// idling in memory gives way.
type slots struct {
	capacity int
	grant    func(*run) // called without the lock

	mu     sync.Mutex
	used   int
	queued int
	users  map[string]*line
	ring   []*line // those with a queue, the next one first
	idle   map[*run]struct{}
	closed bool
}

// line is one user's part of the slots.
type line struct {
	user  string
	used  int
	queue []*run
}

// most is what one user may hold. Where there are few slots at all, it may be all of
// them.
func (s *slots) most() int {
	if s.capacity < 4*weightVM {
		return s.capacity
	}
	return s.capacity - max(weightVM, s.capacity/4)
}

// line returns a user's part; mu is held.
func (s *slots) line(user string) *line {
	l := s.users[user]
	if l == nil {
		if s.users == nil {
			s.users = make(map[string]*line)
		}
		l = &line{user: user}
		s.users[user] = l
	}
	return l
}

// tidy forgets a user that holds and wants nothing; mu is held.
func (s *slots) tidy(l *line) {
	if l.used == 0 && len(l.queue) == 0 {
		delete(s.users, l.user)
	}
}

// room reports whether a weight fits, for all and for its user. Both also let a run
// through that is heavier than the bound.
func (s *slots) room(l *line, weight int) (all, own bool) {
	return s.used == 0 || s.used+weight <= s.capacity, l.used == 0 || l.used+weight <= s.most()
}

// blocked reports whether somebody waits for slots that anybody may have; mu is held.
func (s *slots) blocked() bool {
	return slices.ContainsFunc(s.ring, func(l *line) bool {
		all, own := s.room(l, l.queue[0].share.weight)
		return own && !all
	})
}

// try takes slots if some are free and nobody waits for them.
func (s *slots) try(want share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	l := s.line(want.user)
	defer s.tidy(l)
	all, own := s.room(l, want.weight)
	if !all || !own || len(l.queue) > 0 || s.blocked() {
		return false
	}
	s.used += want.weight
	l.used += want.weight
	return true
}

// wait queues r; grant is called for it once it holds its slots.
func (s *slots) wait(r *run) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	l := s.line(r.share.user)
	if len(l.queue) == 0 {
		s.ring = append(s.ring, l)
	}
	l.queue = append(l.queue, r)
	s.queued++
	s.mu.Unlock()
	s.pump()
}

// withdraw takes a run out of the queue. False means that it is not there: it holds its
// slots, or is about to.
func (s *slots) withdraw(r *run) bool {
	s.mu.Lock()
	l := s.users[r.share.user]
	if l == nil || !slices.Contains(l.queue, r) {
		s.mu.Unlock()
		return false
	}
	i := slices.Index(l.queue, r)
	l.queue = slices.Delete(l.queue, i, i+1)
	s.queued--
	if len(l.queue) == 0 {
		i := slices.Index(s.ring, l)
		s.ring = slices.Delete(s.ring, i, i+1)
		s.tidy(l)
	}
	s.mu.Unlock()
	s.pump() // it may have kept lighter ones waiting
	return true
}

// release gives slots back.
func (s *slots) release(held share) {
	s.mu.Lock()
	l := s.line(held.user)
	s.used -= held.weight
	l.used -= held.weight
	s.tidy(l)
	s.mu.Unlock()
	s.pump()
}

// pump serves the queues and asks idle runs to leave when it cannot.
func (s *slots) pump() {
	for {
		s.mu.Lock()
		if s.closed || len(s.ring) == 0 {
			s.mu.Unlock()
			return
		}
		r := s.next()
		if r == nil {
			s.makeRoom()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.grant(r)
	}
}

// next takes the next run that fits; mu is held.
func (s *slots) next() *run {
	for i, l := range s.ring {
		r := l.queue[0]
		all, own := s.room(l, r.share.weight)
		if own && !all {
			return nil // lighter ones must not pass it for ever
		}
		if !all || !own {
			continue
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
		s.queued--
		s.used += r.share.weight
		l.used += r.share.weight
		s.ring = slices.Delete(s.ring, i, i+1)
		if len(l.queue) > 0 {
			s.ring = append(s.ring, l)
		}
		return r
	}
	return nil
}

// makeRoom asks idle runs to leave for those that wait; mu is held.
func (s *slots) makeRoom() {
	for _, l := range s.ring {
		weight := l.queue[0].share.weight
		all, own := s.room(l, weight)
		need := s.used + weight - s.capacity
		if !own {
			need = l.used + weight - s.most()
		} else if all {
			continue
		}
		for idle := range s.idle {
			if need <= 0 {
				break
			}
			if !own && idle.share.user != l.user {
				continue
			}
			need -= idle.share.weight
			delete(s.idle, idle)
			idle.box.post(idle.parkNow)
		}
	}
}

// rests marks a run in memory as idle. False means that somebody waits for its
// slots: leave now.
func (s *slots) rests(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.users[r.share.user]; l != nil && len(l.queue) > 0 || s.blocked() {
		return false
	}
	if s.idle == nil {
		s.idle = make(map[*run]struct{})
	}
	s.idle[r] = struct{}{}
	return true
}

// works is the opposite of rests.
func (s *slots) works(r *run) {
	s.mu.Lock()
	delete(s.idle, r)
	s.mu.Unlock()
}

// close returns who still waited; nobody is served any more.
func (s *slots) close() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var left []*run
	for _, l := range s.ring {
		left = append(left, l.queue...)
		l.queue = nil
	}
	s.ring, s.queued = nil, 0
	return left
}

// full reports whether so many runs wait that no more should come: of this user, or
// of all.
func (s *slots) full(user string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued >= most*queuedByAll {
		return true
	}
	l := s.users[user]
	return l != nil && len(l.queue) >= most
}

func (s *slots) stats() (used, queued int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.queued
}
