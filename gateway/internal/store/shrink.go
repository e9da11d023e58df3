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
	unopened := 0
	for range cap(s.readers.free) {
		select {
		case <-s.readers.free:
			if c, ok := s.readers.last(); ok {
				s.shrinkConn(c)
				taken = append(taken, c)
			} else {
				unopened++
			}
		default:
		}
	}
	for _, c := range taken {
		s.readers.give(c)
	}
	for range unopened {
		s.readers.free <- struct{}{}
	}
}

func (s *Store) shrinkConn(c *conn) {
	if err := c.script("PRAGMA shrink_memory"); err != nil {
		s.log.Warn("giving back cached pages failed", zap.String("database", s.path), zap.Error(err))
	}
}
