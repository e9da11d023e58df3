package eventlog

import (
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// plainRing holds the newest events of all runs in commit order, as long as a cursor
// waits for any of them. Positions count from 1 and never repeat while the process lives.
type plainRing struct {
	mu    sync.Mutex
	buf   []*store.Event // position p is at p % len(buf)
	limit int
	bytes int64
	tail  int64 // position of the oldest held event
	head  int64 // position of the next event

	waiting int // cursors with something pending

	all   []*PlainCursor            // cursors without a filter
	byRun map[string][]*PlainCursor // filtered cursors, by every run they want
	held  map[*PlainCursor]struct{}
	woken []*PlainCursor // collected by publish, called by wakePending
}

func (p *plainRing) init(limit int) {
	p.limit = limit
	p.buf = make([]*store.Event, min(limit, 64))
	p.tail, p.head = 1, 1
	p.byRun = make(map[string][]*PlainCursor)
	p.held = make(map[*PlainCursor]struct{})
}

func (p *plainRing) at(pos int64) **store.Event { return &p.buf[pos%int64(len(p.buf))] }

func (p *plainRing) resize(limit int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
	p.trim(bytes, 0)
	p.realloc(max(min(limit, len(p.buf)), int(p.head-p.tail), 1))
}

func (p *plainRing) realloc(n int) {
	next := make([]*store.Event, n)
	for pos := p.tail; pos < p.head; pos++ {
		next[pos%int64(n)] = *p.at(pos)
	}
	p.buf = next
}

// trim drops the oldest events until room more fit.
func (p *plainRing) trim(maxBytes int64, room int) {
	for p.tail < p.head && (int(p.head-p.tail)+room > p.limit || p.bytes > maxBytes) {
		slot := p.at(p.tail)
		p.bytes -= eventBytes(*slot)
		*slot = nil
		p.tail++
	}
}

// publish appends events and marks the cursors that want them.
func (p *plainRing) publish(events []*store.Event, maxBytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.head
	for _, ev := range events {
		if ev.Name == "" || ev.System {
			continue
		}
		p.trim(maxBytes, 1)
		if int(p.head-p.tail) == len(p.buf) {
			p.realloc(min(p.limit, 2*len(p.buf)))
		}
		*p.at(p.head) = ev
		p.bytes += eventBytes(ev)
		for _, c := range p.byRun[ev.RunID] {
			p.want(c, p.head)
		}
		p.head++
	}
	if p.head == first {
		return
	}
	p.trim(maxBytes, 0)
	for _, c := range p.all {
		p.want(c, first)
	}
	if p.waiting == 0 {
		p.empty()
	}
	for c := range p.held {
		if !c.nagged && p.overHalf(c) {
			c.nagged = true
			p.woken = append(p.woken, c)
		}
	}
}

func (p *plainRing) overHalf(c *PlainCursor) bool { return int(p.head-c.pending) >= p.limit/2 }

// want notes the first position that c has not read and needs.
func (p *plainRing) want(c *PlainCursor, pos int64) {
	if c.pending == 0 {
		p.wait(c, pos)
		p.woken = append(p.woken, c)
	}
}

func (p *plainRing) wait(c *PlainCursor, pos int64) {
	c.pending = pos
	p.waiting++
}

// waitNoMore notes that nothing is left for c. What is left for nobody goes: cursors to
// come begin at the head.
func (p *plainRing) waitNoMore(c *PlainCursor) {
	c.pending = 0
	if p.waiting--; p.waiting == 0 {
		p.empty()
	}
}

// keepPlain is the longest buffer that an empty ring keeps.
const keepPlain = 1024

func (p *plainRing) empty() {
	if len(p.buf) > keepPlain {
		p.buf = make([]*store.Event, min(p.limit, 64))
		p.tail = p.head
	}
	for ; p.tail < p.head; p.tail++ {
		*p.at(p.tail) = nil
	}
	p.bytes = 0
}

func (p *plainRing) wakePending() {
	// Only the publisher touches woken; detaching leaves entries behind, and a wake
	// without cause is allowed.
	for i, c := range p.woken {
		p.woken[i] = nil
		c.wake()
	}
	p.woken = p.woken[:0]
}

func (p *plainRing) wakeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.all {
		c.wake()
	}
	for _, list := range p.byRun {
		for _, c := range list {
			c.wake()
		}
	}
}

// PlainCursor reads the events of all runs, or of those it wants, in commit order.
// Its methods belong to one goroutine at a time.
type PlainCursor struct {
	log  *Log
	wake func()

	// Guarded by plainRing.mu.
	pending int64          // first wanted position not read; 0: none
	index   int            // in plainRing.all, when there is no filter
	filter  map[string]int // wanted runs, with the index in plainRing.byRun
	holds   int
	nagged  bool // woken because half of the ring waits, although held
	closed  bool
}

// AttachPlain opens a cursor on all events published from now on, except those of
// system workflows. wake has the duties described at Attach.
func (l *Log) AttachPlain(wake func()) *PlainCursor {
	c := &PlainCursor{log: l, wake: wake}
	l.plain.mu.Lock()
	defer l.plain.mu.Unlock()
	l.plain.add(c)
	return c
}

// Filter limits the cursor to the given runs; nil lifts the limit. Events of runs
// that were not wanted when they were published are not made up for. A filtered
// cursor is not woken by, and cannot fall behind because of, other runs.
func (c *PlainCursor) Filter(runs []string) {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.closed {
		return
	}
	p.remove(c)
	c.filter = nil
	if runs != nil {
		c.filter = make(map[string]int, len(runs))
		for _, r := range runs {
			c.filter[r] = 0
		}
	}
	p.add(c)
}

// Want adds a run to the filter and Unwant takes one out, at a cost that does not
// depend on how many there are. Without a filter both do nothing. As with Filter,
// what was published before is not made up for, except while the cursor is held.
func (c *PlainCursor) Want(runID string) {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, wanted := c.filter[runID]; !wanted && c.filter != nil && !c.closed {
		p.list(c, runID)
	}
}

// Unwant is described at Want.
func (c *PlainCursor) Unwant(runID string) {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, wanted := c.filter[runID]; wanted && !c.closed {
		p.unlist(c, runID)
		delete(c.filter, runID)
	}
}

// Next copies the next wanted events into dst. It never blocks: 0 and no error mean
// nothing now. ErrFellOff and ErrClosed are final.
func (c *PlainCursor) Next(dst []*store.Event) (int, error) {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.closed || c.log.closed.Load() {
		return 0, ErrClosed
	}
	if c.pending == 0 {
		return 0, nil
	}
	if c.pending < p.tail {
		return 0, ErrFellOff
	}
	if c.holds > 0 && !p.overHalf(c) {
		c.nagged = false
		return 0, nil
	}
	n := 0
	for ; c.pending < p.head && n < len(dst); c.pending++ {
		ev := *p.at(c.pending)
		if c.filter != nil {
			if _, ok := c.filter[ev.RunID]; !ok {
				continue
			}
		}
		dst[n] = ev
		n++
	}
	if c.pending == p.head && c.holds == 0 {
		p.waitNoMore(c)
	}
	return n, nil
}

// Hold stops the cursor until as many calls of Release: Next has nothing, and what
// is published meanwhile is kept whatever the filter says, so that a filter set
// before Release applies to it. A cursor that is held so long that half of the ring
// waits for it reads on. Hold and Release may be called from any goroutine.
func (c *PlainCursor) Hold() {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	c.holds++
	if c.closed {
		return
	}
	p.held[c] = struct{}{}
	if c.pending == 0 {
		p.wait(c, p.head)
	}
}

// Release undoes one Hold. The owner must call Next afterwards; there is no wake.
func (c *PlainCursor) Release() {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.holds--; c.holds > 0 {
		return
	}
	delete(p.held, c)
	c.nagged = false
	if c.pending == p.head && !c.closed {
		p.waitNoMore(c)
	}
}

// Drained reports whether everything published has been read.
func (c *PlainCursor) Drained() bool {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.pending == 0
}

// Detach ends the cursor. A wake that was under way may still arrive afterwards.
func (c *PlainCursor) Detach() {
	p := &c.log.plain
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.closed {
		c.closed = true
		p.remove(c)
		delete(p.held, c)
		if c.pending != 0 {
			p.waitNoMore(c)
		}
	}
}

func (p *plainRing) add(c *PlainCursor) {
	if c.filter == nil {
		c.index = len(p.all)
		p.all = append(p.all, c)
		return
	}
	for r := range c.filter {
		p.list(c, r)
	}
}

func (p *plainRing) list(c *PlainCursor, runID string) {
	c.filter[runID] = len(p.byRun[runID])
	p.byRun[runID] = append(p.byRun[runID], c)
}

// remove moves the last entry of each list into the place of c.
func (p *plainRing) remove(c *PlainCursor) {
	if c.filter == nil {
		last := len(p.all) - 1
		moved := p.all[last]
		p.all[c.index], moved.index = moved, c.index
		p.all[last] = nil
		p.all = p.all[:last]
		return
	}
	for r := range c.filter {
		p.unlist(c, r)
	}
}

func (p *plainRing) unlist(c *PlainCursor, runID string) {
	list, i := p.byRun[runID], c.filter[runID]
	last := len(list) - 1
	moved := list[last]
	list[i], moved.filter[runID] = moved, i
	list[last] = nil
	if last == 0 {
		delete(p.byRun, runID)
	} else {
		p.byRun[runID] = list[:last]
	}
}
