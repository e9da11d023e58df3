package wsconn

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// wheelSlots spreads the sockets over the beat, so that timed work comes evenly.
const wheelSlots = 16

type slot struct {
	mu    sync.Mutex
	conns []*conn
}

// Registry holds every open socket. All methods may be called concurrently.
type Registry struct {
	deps    Deps
	metrics Metrics
	log     *zap.Logger
	opts    atomic.Pointer[Options]
	streams *rpc.StreamCaps

	mu       sync.Mutex
	draining bool
	preAuth  int
	authed   int
	byAddr   map[string]int
	nextSlot int

	wheel [wheelSlots]slot
	wg    sync.WaitGroup // sockets and their goroutines, and the ticker
	stop  chan struct{}
	once  sync.Once

	opened   atomic.Int64
	received atomic.Int64
	frames   atomic.Int64
	bytes    atomic.Int64
}

// NewRegistry starts a registry; Close ends it.
func NewRegistry(deps Deps, opts Options, logger *zap.Logger) *Registry {
	if logger == nil {
		logger = deps.Logger
	}
	if logger == nil {
		logger = zap.NewNop()
	}
	if deps.Metrics == nil {
		deps.Metrics = noMetrics{}
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Identity == nil {
		deps.Identity = func() wire.Identity { return wire.Identity{} }
	}
	r := &Registry{deps: deps, metrics: deps.Metrics, log: logger, byAddr: make(map[string]int), stop: make(chan struct{})}
	if r.streams = deps.Streams; r.streams == nil {
		r.streams = rpc.NewStreamCaps()
	}
	r.Configure(opts)
	r.wg.Add(1)
	go r.turn()
	return r
}

// Configure replaces the limits and times. Open sockets stay, whatever the limits.
func (r *Registry) Configure(opts Options) {
	o := opts.withDefaults()
	r.opts.Store(&o)
}

func (r *Registry) options() *Options           { return r.opts.Load() }
func (r *Registry) writeTimeout() time.Duration { return r.options().WriteTimeout }

// admit takes a pre-authentication place, or says why there is none.
func (r *Registry) admit(addr string) string {
	o := r.options()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining:
		return RefusedDraining
	case r.authed >= o.MaxConnections || r.preAuth >= o.MaxPreAuth:
		return RefusedLimit
	case r.byAddr[addr] >= o.MaxPreAuthPerAddr:
		return RefusedAddress
	}
	r.preAuth++
	r.byAddr[addr]++
	return ""
}

// promote turns a pre-authentication place into a full one, unless all are taken.
func (r *Registry) promote(addr string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.authed >= r.options().MaxConnections {
		return false
	}
	r.authed++
	r.leaveLocked(addr)
	return true
}

// leave gives a place back.
func (r *Registry) leave(addr string, authed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if authed {
		r.authed--
		return
	}
	r.leaveLocked(addr)
}

func (r *Registry) leaveLocked(addr string) {
	r.preAuth--
	if r.byAddr[addr]--; r.byAddr[addr] <= 0 {
		delete(r.byAddr, addr)
	}
}

// add enters a socket, unless the registry drains.
func (r *Registry) add(c *conn) bool {
	r.mu.Lock()
	if r.draining {
		r.mu.Unlock()
		return false
	}
	c.slot = r.nextSlot
	r.nextSlot = (r.nextSlot + 1) % wheelSlots
	r.wg.Add(1)
	// Entered under mu, so that a drain that begins now sees it.
	s := &r.wheel[c.slot]
	s.mu.Lock()
	c.slotIndex = len(s.conns)
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	r.mu.Unlock()
	r.opened.Add(1)
	return true
}

func (r *Registry) remove(c *conn) {
	s := &r.wheel[c.slot]
	s.mu.Lock()
	last := len(s.conns) - 1
	s.conns[c.slotIndex] = s.conns[last]
	s.conns[c.slotIndex].slotIndex = c.slotIndex
	s.conns[last] = nil
	s.conns = s.conns[:last]
	s.mu.Unlock()
}

// turn visits the sockets, a slot at a time, each once a beat.
func (r *Registry) turn() {
	defer r.wg.Done()
	t := time.NewTimer(r.step())
	defer t.Stop()
	for i := 0; ; i = (i + 1) % wheelSlots {
		select {
		case <-r.stop:
			return
		case <-t.C:
			t.Reset(r.step())
		}
		now := r.deps.Now()
		s := &r.wheel[i]
		s.mu.Lock()
		for _, c := range s.conns {
			c.visit(now)
		}
		s.mu.Unlock()
	}
}

// step is the time between two slots.
func (r *Registry) step() time.Duration {
	return max(r.options().beat()/wheelSlots, time.Millisecond)
}

// Recheck looks up the grant of every authenticated socket again and closes 1008
// those that have none any more. Call it after the grants changed.
func (r *Registry) Recheck() {
	for _, c := range r.all() {
		c.recheck()
	}
}

func (r *Registry) all() []*conn {
	var out []*conn
	for i := range r.wheel {
		s := &r.wheel[i]
		s.mu.Lock()
		out = append(out, s.conns...)
		s.mu.Unlock()
	}
	return out
}

// Drain refuses new sockets and closes the open ones with a close frame, in random
// order and evenly spread over the time until shortly before ctx's deadline, so
// that clients do not come back all at once. It returns when all have ended, or
// when ctx is done; what is open then is cut, as soon as it has been told, and a second
// later if it takes nothing.
func (r *Registry) Drain(ctx context.Context, code int, reason string) {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	conns := r.all()
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	start, spread := time.Now(), time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		// A quarter of the time stays for the last ones to answer.
		spread = max(0, time.Until(deadline)*3/4)
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for i, c := range conns {
		due := start.Add(time.Duration(float64(spread) * (float64(i) + rand.Float64()) / float64(len(conns))))
		if wait := time.Until(due); wait > time.Millisecond && ctx.Err() == nil {
			pause.Reset(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
		c.shut(code, reason, ClosedDrain)
	}
	for i, c := range conns {
		select {
		case <-c.ended:
			continue
		case <-ctx.Done():
		}
		cutOff(conns[i:])
		break
	}
	for _, c := range conns {
		<-c.ended
	}
}

// tellTime is how long a drain that is late waits for close frames to be sent.
const tellTime = time.Second

// cutOff cuts sockets that are about to be told that they end.
func cutOff(conns []*conn) {
	late, cancel := context.WithTimeout(context.Background(), tellTime)
	defer cancel()
	for _, c := range conns {
		select {
		case <-c.told:
		case <-c.ended:
		case <-late.Done():
		}
		c.cut(ClosedDrain)
	}
}

// Close cuts every socket that is still open, without a close frame, and waits for
// all goroutines. Use Drain first.
func (r *Registry) Close() {
	r.once.Do(func() {
		r.mu.Lock()
		r.draining = true
		r.mu.Unlock()
		close(r.stop)
		for _, c := range r.all() {
			c.cut(ClosedDrain)
		}
	})
	r.wg.Wait()
}

// Stats is a snapshot of the sockets.
type Stats struct {
	Connections int // authenticated
	PreAuth     int
	Streams     int
	Opened      int64 // since start
	Received    int64 // messages
	Frames      int64 // sent
	Bytes       int64 // sent
}

// Stats returns current figures.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	s := Stats{Connections: r.authed, PreAuth: r.preAuth}
	r.mu.Unlock()
	s.Streams = r.streams.Count()
	s.Opened, s.Received, s.Frames, s.Bytes = r.opened.Load(), r.received.Load(), r.frames.Load(), r.bytes.Load()
	return s
}
