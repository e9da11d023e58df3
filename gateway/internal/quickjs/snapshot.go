package quickjs

// snapshot is a copy of what an arena held, and where.
type snapshot struct {
	layout layout
	pieces []piece
	copies uintptr // one mapping that holds all copies
	total  uintptr
}

// piece is memory of the arena and the place of its copy.
type piece struct {
	at, size uintptr
	offset   uintptr // in copies
	large    bool
	freed    bool // a large block that was freed since; it stays mapped for Reset
}

// keptChunks is how many chunks beyond those of the snapshot survive a reset, so that
// a run which needs a little more does not map and unmap memory each time.
const keptChunks = 1

// save copies the arena. It replaces an earlier snapshot.
func (a *arena) save() error {
	a.drop()
	s := &snapshot{layout: a.layout}
	add := func(at, size uintptr, large bool) {
		s.pieces = append(s.pieces, piece{at: at, size: size, offset: s.total, large: large})
		s.total += size
	}
	for i, p := range a.chunks[:a.used] {
		size := uintptr(chunkSize)
		if i == a.used-1 {
			size = a.top
		}
		add(p, size, false)
	}
	for p, n := range a.large {
		add(p, n, true)
	}
	if s.total > 0 {
		p, err := mapPages(s.total)
		if err != nil {
			return err
		}
		backPages(p, s.total)
		s.copies = p
	}
	for _, p := range s.pieces {
		copy(memory(s.copies+p.offset, p.size), memory(p.at, p.size))
	}
	a.saved = s
	return nil
}

// restore makes the arena what it was when it was saved.
func (a *arena) restore() {
	s := a.saved
	for p, n := range a.large {
		if s.find(p) == nil {
			unmapPages(p, n)
			delete(a.large, p)
		}
	}
	for i := range s.pieces {
		p := &s.pieces[i]
		copy(memory(p.at, p.size), memory(s.copies+p.offset, p.size))
		p.freed = false
	}
	a.layout = s.layout
	a.backed = chunkSize
	if kept := a.used + keptChunks; len(a.chunks) > kept {
		for _, p := range a.chunks[kept:] {
			unmapPages(p, chunkSize)
		}
		a.chunks = a.chunks[:kept]
	}
}

// drop gives the snapshot up, and with it the large blocks that were freed meanwhile.
func (a *arena) drop() {
	s := a.saved
	if s == nil {
		return
	}
	a.saved = nil
	s.destroy()
	for _, p := range s.pieces {
		if p.freed {
			a.unmap(p.at)
		}
	}
}

// find returns the piece of a large block that belongs to the snapshot, nil when none
// does; a nil snapshot holds nothing.
func (s *snapshot) find(base uintptr) *piece {
	if s == nil {
		return nil
	}
	for i := len(s.pieces) - 1; i >= 0 && s.pieces[i].large; i-- {
		if s.pieces[i].at == base {
			return &s.pieces[i]
		}
	}
	return nil
}

func (s *snapshot) size() uintptr {
	if s == nil {
		return 0
	}
	return s.total
}

func (s *snapshot) destroy() {
	if s != nil && s.copies != 0 {
		unmapPages(s.copies, s.total)
		s.copies = 0
	}
}
