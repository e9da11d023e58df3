package store

import "go.uber.org/zap"

// Shrink gives back the memory of cached pages, which a busy store has up to 64 MiB of for
// writing and 8 MiB for each reading connection. The writer's goes once it has nothing to
// do; that of connections in use stays. The operating system usually has the pages still,
// so that reading them again is quick. It does not wait, and may be called at any time.
func (s *Store) Shrink() {
	s.shrink.Store(true)
	s.queue.signal()
	var taken []*conn
	for range cap(s.readers.free) {
		select {
		case <-s.readers.free:
			c := s.readers.take()
			if taken = append(taken, c); c != nil {
				s.shrinkConn(c)
			}
		default:
		}
	}
	for _, c := range taken {
		s.readers.give(c)
	}
}

func (s *Store) shrinkConn(c *conn) {
	if err := c.script("PRAGMA shrink_memory"); err != nil {
		s.log.Warn("giving back cached pages failed", zap.String("database", s.path), zap.Error(err))
	}
}
