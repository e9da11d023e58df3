package wsconn

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// conn is one socket. Its reading goroutine (serve) owns its life; fields are
// guarded by mu, belong to the writing goroutine, or never change, as the blocks
// below say.
type conn struct {
	reg    *Registry
	ws     *websocket.Conn
	nc     *coalescer
	req    *http.Request // light; what connect may authenticate by
	site   Site
	addr   string // what pre-authentication places are counted by
	remote string // the client's address, for logs and the audit
	born   time.Time

	ctx      context.Context
	cancel   context.CancelFunc
	requests sync.WaitGroup
	slots    chan struct{} // one token per request that has not been answered
	stop     chan struct{} // closed when the end begins
	told     chan struct{} // closed when our close frame has been sent
	ended    chan struct{} // closed when nothing is left

	slot      int // of the registry's wheel, with the index in it: guarded by slot.mu
	slotIndex int

	state atomic.Int32 // of the writing goroutine: idle, running, again, dead
	pumpF func()       // c.pump and c.kick, bound once: starting the writer and
	kickF func()       // handing kick to a cursor allocate nothing
	quiet chan struct{}

	mu        sync.Mutex
	inbox     inbox
	replies   []reply
	closing   bool
	dead      bool // nothing will be written any more
	cause     string
	authed    bool
	principal *auth.Principal
	plain     *eventlog.PlainCursor // of the newest session
	streams   int                   // open or being opened, of both kinds
	named     map[string]struct{}   // runs that the filter of the session names; nil: it has none
	nextTick  time.Time
	nextBeat  time.Time

	w writer
}

// inbox is small news for the writing goroutine.
type inbox struct {
	challenge bool
	tick      bool
	beat      bool
	pong      *string
	close     *closeFrame
}

type closeFrame struct {
	code   int
	reason string
}

// reply is a finished request: its answer, and what begins once that was written.
type reply struct {
	id      string
	payload []byte
	failure *wire.Error

	opened    []*stream             // streams that begin
	devOpened []*devStream          // likewise
	subscribe []string              // runs to add to the filter
	held      *eventlog.PlainCursor // held since the request began
	session   *session              // of a connect that succeeded
}

func (r *Registry) newConn(ws *websocket.Conn, nc *coalescer, req *http.Request, site Site) *conn {
	o := r.options()
	c := &conn{
		reg: r, ws: ws, nc: nc, req: req, site: site, born: r.deps.Now(),
		addr: auth.AddressKey(hostOf(site.ClientAddr, req.RemoteAddr)), remote: hostOf(site.ClientAddr, req.RemoteAddr),
		slots: make(chan struct{}, o.MaxRequests), stop: make(chan struct{}), told: make(chan struct{}), ended: make(chan struct{}),
		quiet: make(chan struct{}, 1), inbox: inbox{challenge: true},
	}
	c.pumpF, c.kickF = c.pump, c.kick
	ws.SetReadLimit(min(o.MaxMessageBytes, wire.MaxFirstMessageBytes)) // until connect succeeds
	ws.SetPingHandler(func(data string) error {
		c.tell(func(in *inbox) { in.pong = &data }) // the newest is enough (RFC 6455, 5.5.3)
		return nil
	})
	ws.SetCloseHandler(func(code int, _ string) error {
		c.begin(code, "", ClosedClient)
		return nil
	})
	return c
}

// tell leaves word for the writing goroutine.
func (c *conn) tell(f func(*inbox)) {
	c.mu.Lock()
	f(&c.inbox)
	c.mu.Unlock()
	c.kick()
}

// States of the writing goroutine.
const (
	idle    = iota // it does not exist
	running        // it works
	again          // it works and must look once more
	dead           // it must not start any more
)

// kick makes sure that the writing goroutine looks at what there is after this
// call. It never blocks and may be called from anywhere.
func (c *conn) kick() {
	for {
		switch c.state.Load() {
		case idle:
			if c.state.CompareAndSwap(idle, running) {
				c.reg.wg.Add(1)
				go c.pumpF()
				return
			}
		case running:
			if c.state.CompareAndSwap(running, again) {
				return
			}
		default:
			return
		}
	}
}

// retire waits until the writing goroutine rests and keeps it from starting again.
// From then on the caller may write.
func (c *conn) retire() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	for !c.state.CompareAndSwap(idle, dead) {
		<-c.quiet
	}
}

// visit does what time demands; the registry calls it once a beat.
func (c *conn) visit(now time.Time) {
	o := c.reg.options()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	if !c.authed {
		if now.Sub(c.born) >= o.AuthDeadline {
			c.cutLocked(ClosedAuthDeadline)
		}
		return
	}
	if p := c.principal; p.ExpiresAtMs > 0 && now.UnixMilli() >= p.ExpiresAtMs {
		c.beginLocked(wire.ClosePolicy, wire.ReasonAuth, ClosedRevoked)
		c.kick()
		return
	}
	due, slack := false, o.beat()/2
	if c.streams > 0 && elapsed(&c.nextBeat, now, o.StreamHeartbeat, slack) {
		c.inbox.beat, due = true, true
	}
	if elapsed(&c.nextTick, now, o.Heartbeat, slack) {
		c.inbox.tick, due = true, true
	}
	if due {
		c.kick()
	}
}

// elapsed reports whether it is time, and if so sets the next one. The visit nearest
// to the time counts, slack being half of what lies between two, so that the cadence
// does not drift.
func elapsed(next *time.Time, now time.Time, every, slack time.Duration) bool {
	if now.Before(next.Add(-slack)) {
		return false
	}
	*next = next.Add(every)
	if next.Before(now) {
		*next = now.Add(every)
	}
	return true
}
