package wsconn

import (
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// batch is how many events are taken from one cursor before the next has its turn.
const batch = 128

// work is what a writing goroutine needs while it works.
type work struct {
	scratch []byte
	events  [batch]*eventlog.Event
	docs    [devBatch][]byte
}

var workPool = sync.Pool{New: func() any { return new(work) }}

// writer is the state of the writing goroutine. Whoever holds that role, one at a
// time, uses it without a lock.
type writer struct {
	seq        int64 // of event frames on this connection
	version    int64 // stateVersion never decreases
	tail       wire.EventTail
	streams    []*stream
	devStreams []*devStream
	plain      *eventlog.PlainCursor
	filter     map[string]struct{} // of the session; empty: every run
	muted      map[string]struct{} // runs that were cut off and not subscribed again (Q37)
	narrow     bool                // the plain filter still names runs that streams deliver
	unflushed  int                 // bytes and frames since the last flush
	frames     int
	reads      bool // the session may have streams
	observes   bool // and streams of frames
	closeSent  bool
	awaited    bool // the time that the peer has for its close frame runs
	silent     bool // the connection takes no more frames: a close frame was written
	broken     bool // the connection takes no more bytes
}

// pump writes all there is and ends.
func (c *conn) pump() {
	defer c.reg.wg.Done()
	w := workPool.Get().(*work)
	for {
		c.state.Store(running)
		for c.w.step(c, w) {
		}
		c.w.flush(c)
		if c.w.closeSent && !c.w.broken && !c.w.awaited {
			// From here on only the peer's close frame is awaited. Once: what else the
			// peer sends wakes this goroutine, too, and must not earn it more time.
			c.w.awaited = true
			close(c.told)
			_ = c.nc.SetReadDeadline(time.Now().Add(c.reg.options().CloseWait)) // fails on a closed socket only
		}
		if c.state.CompareAndSwap(running, idle) {
			break
		}
	}
	clear(w.events[:])
	if cap(w.scratch) > keepBytes {
		w.scratch = nil
	}
	workPool.Put(w)
	select {
	case c.quiet <- struct{}{}: // for retire
	default:
	}
}

// step writes the answers that are due, then one batch of each cursor. It reports
// whether there may be more.
func (wr *writer) step(c *conn, w *work) (more bool) {
	c.mu.Lock()
	in, replies := c.inbox, c.replies
	c.inbox, c.replies = inbox{}, nil
	c.mu.Unlock()
	wr.version = max(wr.version, c.reg.deps.Log.StateVersion())

	if in.challenge {
		wr.event(c, w, wire.AppendChallenge(w.scratch[:0], uuid.NewString(), c.now(), wr.seq+1, wr.version))
	}
	if in.pong != nil {
		wr.write(c, websocket.PongMessage, []byte(*in.pong))
	}
	for i := range replies {
		wr.reply(c, w, &replies[i])
		<-c.slots
	}
	if in.close != nil {
		wr.write(c, websocket.CloseMessage, websocket.FormatCloseMessage(in.close.code, in.close.reason))
		wr.closeSent, wr.silent = true, true
	}
	if wr.silent || wr.broken {
		return false
	}
	if in.tick {
		wr.event(c, w, wire.AppendTick(w.scratch[:0], c.now(), wr.seq+1, wr.version))
	}
	if in.beat {
		for _, s := range wr.streams {
			wr.event(c, w, wire.AppendHeartbeat(w.scratch[:0], s.id, s.runID, c.now(), wr.seq+1, wr.version))
		}
	}
	more = len(replies) > 0
	for i := 0; i < len(wr.streams) && !wr.broken; {
		n, err := wr.pull(c, w, wr.streams[i])
		if err != nil {
			wr.endStream(c, w, i, c.streamError(wr.streams[i], err))
			continue
		}
		more = more || n > 0
		i++
	}
	if wr.plain != nil && !wr.broken {
		more = wr.pullPlain(c, w) || more
	}
	more = wr.pullDev(c, w) || more
	return more && !wr.broken
}

func (c *conn) now() int64 { return c.reg.deps.Now().UnixMilli() }

// reply writes an answer and begins what comes after it.
func (wr *writer) reply(c *conn, w *work, r *reply) {
	if wr.silent || wr.broken {
		c.discard(r)
		return
	}
	if r.failure != nil {
		w.scratch = wire.AppendFailure(w.scratch[:0], r.id, r.failure)
	} else {
		w.scratch = wire.AppendResult(w.scratch[:0], r.id, r.payload)
	}
	wr.write(c, websocket.TextMessage, w.scratch)
	if r.session != nil {
		wr.begin(c, w, r.session)
	}
	for _, s := range r.opened {
		wr.open(c, w, s)
	}
	wr.devStreams = append(wr.devStreams, r.devOpened...)
	wr.endUnread(c, w)                              // a connect may have come between the request and here
	if len(r.subscribe) > 0 && len(wr.filter) > 0 { // an existing filter is only widened (Q8)
		for _, runID := range r.subscribe {
			wr.widen(runID)
		}
	}
	if r.held != nil {
		r.held.Release()
	}
}

// begin replaces the session.
func (wr *writer) begin(c *conn, w *work, s *session) {
	if wr.plain != nil {
		wr.plain.Detach()
	}
	wr.plain, wr.filter, wr.muted = s.plain, nil, nil
	if len(s.filter) > 0 {
		wr.filter = make(map[string]struct{}, len(s.filter))
	}
	for _, runID := range s.filter {
		wr.filter[runID] = struct{}{}
	}
	m := wire.ResolveMethod(wire.MethodStreamRunEvents)
	wr.reads = s.principal.AllowsMethod(m, m.Name)
	m = wire.ResolveMethod(wire.MethodStreamDevTools)
	wr.observes = s.principal.AllowsMethod(m, m.Name)
	for _, st := range wr.streams {
		st.handed = false
	}
	wr.narrow = len(wr.streams) > 0
	wr.endUnread(c, w)
}

// endUnread ends the streams of a session that may have none.
func (wr *writer) endUnread(c *conn, w *work) {
	for !wr.reads && len(wr.streams) > 0 {
		wr.endStream(c, w, 0, wire.MissingScope(wire.ScopeRunRead, wire.MethodStreamRunEvents))
	}
	for !wr.observes && len(wr.devStreams) > 0 {
		wr.endDevStream(c, w, 0, wire.MissingScope(wire.ScopeObservabilityRead, wire.MethodStreamDevTools))
	}
}

func (wr *writer) open(c *conn, w *work, s *stream) {
	if _, cut := wr.muted[s.runID]; cut {
		delete(wr.muted, s.runID)
		s.handed = true // the plain cursor has not delivered the run for a while
	}
	wr.streams = append(wr.streams, s)
	wr.narrow = true
	if s.gap != nil {
		wr.event(c, w, wire.AppendGapResync(w.scratch[:0], s.id, s.runID, s.gap.From, s.gap.To, s.snapshot, wr.seq+1, wr.version))
		s.gap, s.snapshot = nil, nil
	}
}

func (wr *writer) endStream(c *conn, w *work, i int, failure *wire.Error) {
	s := wr.streams[i]
	wr.streams = append(wr.streams[:i], wr.streams[i+1:]...)
	wr.event(c, w, wire.AppendRunError(w.scratch[:0], s.id, s.runID, failure, wr.seq+1, wr.version))
	if wr.muted == nil {
		wr.muted = make(map[string]struct{})
	}
	wr.muted[s.runID] = struct{}{}
	wr.unwant(s.runID)
	c.endStream(s)
	c.reg.metrics.StreamEnded(failure.Code)
}

// pull writes one batch of a stream.
func (wr *writer) pull(c *conn, w *work, s *stream) (int, error) {
	n, err := s.cursor.Next(w.events[:])
	if n > 0 && s.frames == nil {
		s.frames = wire.NewRunEvents(s.id, s.runID)
	}
	for _, ev := range w.events[:n] {
		if wr.silent || wr.broken {
			break
		}
		wr.version = max(wr.version, ev.StateVersion)
		wr.seq++
		frame := s.frames.Append(c.nc.beginText(), ev.Name, ev.Payload, ev.Seq, ev.StateVersion)
		wr.wrote(c, wr.tail.Append(frame, wr.seq, wr.version))
	}
	return n, err
}

// pullPlain writes one batch of plain events and reports whether there may be more.
func (wr *writer) pullPlain(c *conn, w *work) bool {
	n, err := wr.plain.Next(w.events[:])
	switch {
	case errors.Is(err, eventlog.ErrFellOff):
		c.shut(wire.CloseTryAgain, wire.ReasonPressure, ClosedBackpressure)
		return false // shut has kicked
	case err != nil:
		c.shut(wire.CloseRestart, wire.ReasonShutdown, ClosedStorage)
		return false
	}
	for _, ev := range w.events[:n] {
		if !wr.wantsPlain(ev) {
			continue
		}
		if wr.silent || wr.broken {
			break
		}
		wr.version = max(wr.version, ev.StateVersion)
		wr.seq++
		wr.wrote(c, wire.AppendEvent(c.nc.beginText(), ev.Name, ev.Payload, wr.seq, wr.version))
	}
	if n == 0 && wr.narrow && wr.plain.Drained() {
		for _, s := range wr.streams {
			s.handed = true
			wr.unwant(s.runID)
		}
		wr.narrow = false
	}
	return n > 0
}

// wantsPlain holds back what a stream delivers, from where that stream began, and
// runs that were cut off.
func (wr *writer) wantsPlain(ev *eventlog.Event) bool {
	for _, s := range wr.streams {
		if s.runID == ev.RunID && (s.handed || ev.Seq > s.from) {
			return false
		}
	}
	_, cut := wr.muted[ev.RunID]
	return !cut
}

// widen adds a run to the filter of the session, and to what the plain cursor reads
// unless a stream has taken the run over.
func (wr *writer) widen(runID string) {
	if _, ok := wr.filter[runID]; ok {
		return
	}
	wr.filter[runID] = struct{}{}
	_, gone := wr.muted[runID]
	for _, s := range wr.streams {
		gone = gone || (s.handed && s.runID == runID)
	}
	if !gone && wr.plain != nil {
		wr.plain.Want(runID)
	}
}

// unwant tells the plain cursor of a filtered session that a run is not left for it:
// what a stream delivers need not wake this socket twice.
func (wr *writer) unwant(runID string) {
	if wr.plain != nil {
		wr.plain.Unwant(runID)
	}
}

// event writes an event frame, which was made in the scratch buffer.
func (wr *writer) event(c *conn, w *work, frame []byte) {
	w.scratch = frame
	wr.seq++
	wr.write(c, websocket.TextMessage, frame)
}

// wrote completes the text frame that was made in the connection's buffer.
func (wr *writer) wrote(c *conn, buf []byte) {
	n, err := c.nc.endText(buf)
	wr.sent(c, n, err)
}

// write gives one message to the connection.
func (wr *writer) write(c *conn, kind int, data []byte) {
	if wr.silent || wr.broken {
		return
	}
	wr.sent(c, len(data)+10, c.nc.message(kind, data))
}

// sent counts a message of so many bytes and flushes when enough is waiting.
func (wr *writer) sent(c *conn, bytes int, err error) {
	if err != nil {
		// Either the connection is poisoned, which flush reports, or the library
		// has written a close frame for a violation and reading is about to end.
		wr.silent = true
		return
	}
	wr.frames++
	if wr.unflushed += bytes; wr.unflushed >= flushBytes {
		wr.flush(c)
	}
}

func (wr *writer) flush(c *conn) {
	bytes := c.nc.waiting()
	if err := c.nc.Flush(); err != nil && !wr.broken {
		wr.broken = true
		c.lost(err)
	} else if bytes > 0 {
		c.reg.frames.Add(int64(wr.frames))
		c.reg.bytes.Add(int64(bytes))
		c.reg.metrics.Sent(wr.frames, bytes)
	}
	wr.unflushed, wr.frames = 0, 0
}

// release gives back the cursors when the socket has ended.
func (wr *writer) release(c *conn) {
	for _, s := range wr.streams {
		c.endStream(s)
	}
	for _, s := range wr.devStreams {
		c.endDevStream(s)
	}
	wr.streams, wr.devStreams = nil, nil
	if wr.plain != nil {
		wr.plain.Detach()
	}
}
