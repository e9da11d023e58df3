package engine

import "sync"

// slots bounds the machines in memory. Who waits is served first come, first
// served; a run that is only idling in memory gives way.
type slots struct {
	capacity int
	grant    func(*run) // called without the lock

	mu     sync.Mutex
	used   int
	queue  []*run
	idle   map[*run]struct{}
	closed bool
}

// try takes slots if some are free and nobody waits.
func (s *slots) try(weight int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.queue) > 0 || !s.fits(weight) {
		return false
	}
	s.used += weight
	return true
}

// fits also lets a run through that is heavier than the whole capacity.
func (s *slots) fits(weight int) bool { return s.used == 0 || s.used+weight <= s.capacity }

// wait queues r; grant is called for it once it holds its slots.
func (s *slots) wait(r *run) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.queue = append(s.queue, r)
	s.mu.Unlock()
	s.pump()
}

// release gives slots back.
func (s *slots) release(weight int) {
	s.mu.Lock()
	s.used -= weight
	s.mu.Unlock()
	s.pump()
}

// pump serves the queue and asks idle runs to leave when it cannot.
func (s *slots) pump() {
	for {
		s.mu.Lock()
		if s.closed || len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		r := s.queue[0]
		if !s.fits(r.weight) {
			need := s.used + r.weight - s.capacity
			for idle := range s.idle {
				if need <= 0 {
					break
				}
				need -= idle.weight
				delete(s.idle, idle)
				idle.box.post(idle.parkNow)
			}
			s.mu.Unlock()
			return
		}
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.used += r.weight
		s.mu.Unlock()
		s.grant(r)
	}
}

// rests marks a run in memory as idle. False means that somebody waits for its
// slots: leave now.
func (s *slots) rests(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
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
	left := s.queue
	s.queue = nil
	return left
}

func (s *slots) stats() (used, queued int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, len(s.queue)
}
