package changes

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Bounds of the protocol.
const (
	window        = 50 * time.Millisecond // from the first change of a frame to its sending
	ringFrames    = 256
	ringBytes     = 64 << 10 // of JSON
	capGlobal     = 256
	capUser       = 32
	capConnection = 2
)

// ErrClosed is the result of Cover on a broker that has ended.
var ErrClosed = errors.New("the change stream has ended")

// Options are the times of all streams. Configure may change them while streams are
// open.
type Options struct {
	Heartbeat    time.Duration // 0: 15 s
	WriteTimeout time.Duration // a reader that accepts no byte for this long is cut; 0: 10 s
}

// Broker collects changes and serves them to any number of clients. All methods may be
// called concurrently.
type Broker struct {
	opts atomic.Pointer[Options]
	done chan struct{} // closed: streams end

	mu      sync.Mutex
	closed  bool
	seq     int64 // of the newest frame
	ring    []frame
	bytes   int
	pending store.Collections
	timer   *time.Timer   // of the window; nil while none is open
	batch   *batch        // that the open window will become
	news    chan struct{} // closed and replaced when there is a new frame
	recheck chan struct{} // closed and replaced when grants have changed

	streams int
	byUser  map[string]int
	byConn  map[string]int
}

// frame is one change as the wire has it.
type frame struct {
	seq  int64
	text []byte
	json int // bytes of its data
}

// batch is a frame to be, for those who wait for its number.
type batch struct {
	sent chan struct{}
	seq  int64
}

// New returns a broker without streams. Numbers begin at now in epoch milliseconds:
// they grow by one a window at most, so the next process always begins above them.
func New(o Options, now time.Time) *Broker {
	b := &Broker{done: make(chan struct{}), seq: now.UnixMilli(), news: make(chan struct{}),
		recheck: make(chan struct{}), byUser: make(map[string]int), byConn: make(map[string]int)}
	b.Configure(o)
	return b
}

// Configure replaces the times.
func (b *Broker) Configure(o Options) {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 10 * time.Second
	}
	b.opts.Store(&o)
}

// Mark notes that collections have changed. It never blocks.
func (b *Broker) Mark(c store.Collections) {
	if c == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark(c)
}

func (b *Broker) mark(c store.Collections) *batch {
	b.pending |= c
	if b.batch == nil {
		b.batch = &batch{sent: make(chan struct{})}
	}
	if b.timer == nil && !b.closed {
		b.timer = time.AfterFunc(window, b.flush)
	}
	return b.batch
}

// Cover notes that collections have changed and waits for the number of the frame that
// says so, and with it everything committed before the call. It takes at most the
// window; the error is ErrClosed or that of ctx.
func (b *Broker) Cover(ctx context.Context, c store.Collections) (int64, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, ErrClosed
	}
	own := b.mark(c)
	b.mu.Unlock()
	select {
	case <-own.sent:
		return own.seq, nil
	case <-b.done:
		return 0, ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// flush ends the open window.
func (b *Broker) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = nil
	if b.closed || b.batch == nil {
		return
	}
	b.seq++
	b.batch.seq = b.seq
	close(b.batch.sent)
	f := newFrame(b.seq, b.pending)
	b.batch, b.pending = nil, 0
	b.ring = append(b.ring, f)
	b.bytes += f.json
	drop := 0
	for drop < len(b.ring)-1 && (len(b.ring)-drop > ringFrames || b.bytes > ringBytes) {
		b.bytes -= b.ring[drop].json
		drop++
	}
	if drop > 0 {
		b.ring = append(b.ring[:0], b.ring[drop:]...)
	}
	close(b.news)
	b.news = make(chan struct{})
}

func newFrame(seq int64, c store.Collections) frame {
	data, err := json.Marshal(struct {
		Seq         int64    `json:"seq"`
		Collections []string `json:"collections"`
	}{seq, c.Names()})
	if err != nil { // numbers and constant names
		data = []byte("{}")
	}
	text := append(strconv.AppendInt([]byte("id: "), seq, 10), "\nevent: change\ndata: "...)
	return frame{seq: seq, text: append(append(text, data...), "\n\n"...), json: len(data)}
}

// Seq is the number of the newest frame.
func (b *Broker) Seq() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seq
}

// after appends the frames behind position to dst and returns the new position. A
// position that the ring does not reach back to, or that was never given out (Q27),
// yields a reset instead.
func (b *Broker) after(dst []byte, position int64) (_ []byte, next int64, news <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case position == b.seq:
	case position > b.seq, len(b.ring) == 0, position < b.ring[0].seq-1:
		dst = appendEvent(dst, "event: reset\n", b.seq)
	default:
		for _, f := range b.ring {
			if f.seq > position {
				dst = append(dst, f.text...)
			}
		}
	}
	return dst, b.seq, b.news
}

func appendEvent(dst []byte, head string, seq int64) []byte {
	dst = append(append(dst, head...), `data: {"seq":`...)
	return append(strconv.AppendInt(dst, seq, 10), "}\n\n"...)
}

func appendHeartbeat(dst []byte, seq int64) []byte {
	return appendEvent(dst, ": heartbeat\nevent: heartbeat\n", seq)
}

// Recheck makes every stream look up its grant again.
func (b *Broker) Recheck() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.recheck)
	b.recheck = make(chan struct{})
}

func (b *Broker) grants() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.recheck
}

// Close ends all streams with word when to come back, and refuses new ones. Calling
// it again does nothing.
func (b *Broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	close(b.done)
}
