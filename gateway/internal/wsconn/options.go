// Package wsconn holds the WebSocket connections: the upgrade and its refusals, the
// conversation, the streams, and the registry that counts, times, re-checks and
// drains them. It never touches the store: requests go to the Router, events come
// from the event log.
//
// A connection has one goroutine that reads. Writing is done by a second one that
// exists only while there is something to write, so an idle socket costs one small
// stack. Only that goroutine writes frames; everybody else leaves word and kicks it.
package wsconn

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Options are the limits and times of all connections. Zero values mean the
// defaults. Configure may change all of them while sockets are open.
type Options struct {
	MaxConnections    int // authenticated sockets
	MaxPreAuth        int // sockets that have not connected yet
	MaxPreAuthPerAddr int // of one client address (IPv6: of one /64)

	StreamsTotal   int // run streams of all transports
	StreamsPerUser int
	StreamsPerConn int
	StreamsPerRun  int

	MaxMessageBytes int64         // a longer message closes 1009
	MaxRequests     int           // of one socket at once; further ones wait unread
	RequestTimeout  time.Duration // of one request

	Heartbeat       time.Duration // between ticks
	StreamHeartbeat time.Duration // between run.heartbeats of a stream
	AuthDeadline    time.Duration // for connect to succeed
	WriteTimeout    time.Duration // a reader that accepts no byte for this long is reset
	CloseWait       time.Duration // for the peer's close frame

	MaxStreamLag int // events, for the text of run.error; the event log decides
}

func orDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (o Options) withDefaults() Options {
	orDefault(&o.MaxConnections, 20_000)
	orDefault(&o.MaxPreAuth, 1_024)
	orDefault(&o.MaxPreAuthPerAddr, 64)
	orDefault(&o.StreamsTotal, o.MaxConnections)
	orDefault(&o.StreamsPerUser, 1_024)
	orDefault(&o.StreamsPerConn, wire.StreamsPerConnection)
	orDefault(&o.StreamsPerRun, o.MaxConnections)
	orDefault(&o.MaxMessageBytes, wire.MaxMessageBytes)
	orDefault(&o.MaxRequests, wire.MaxConcurrentRequests)
	orDefault(&o.RequestTimeout, time.Minute)
	orDefault(&o.Heartbeat, wire.TickInterval)
	orDefault(&o.StreamHeartbeat, wire.StreamHeartbeat)
	orDefault(&o.AuthDeadline, wire.AuthDeadline)
	orDefault(&o.WriteTimeout, 10*time.Second)
	orDefault(&o.CloseWait, 2*time.Second)
	orDefault(&o.MaxStreamLag, eventlog.DefaultMaxLag)
	return o
}

// beat is the time between two visits of the wheel to a socket: the shortest time
// that visits keep.
func (o *Options) beat() time.Duration { return min(o.StreamHeartbeat, o.Heartbeat, o.AuthDeadline) }

func (o *Options) streamLimits() rpc.StreamLimits {
	return rpc.StreamLimits{Total: o.StreamsTotal, PerUser: o.StreamsPerUser, PerConn: o.StreamsPerConn, PerRun: o.StreamsPerRun}
}

// Router answers requests; *rpc.Router is one.
type Router interface {
	Dispatch(ctx context.Context, c *rpc.Call) (json.RawMessage, *wire.Error)
	// Snapshot is the state of a run for a gap; null when the run is gone.
	Snapshot(ctx context.Context, runID string) (json.RawMessage, error)
	// Hello is the snapshot of a hello payload.
	Hello(ctx context.Context, p *auth.Principal) (json.RawMessage, error)
}

// FrameCursor is a position in the frames of a run; *frames.Cursor is one.
type FrameCursor interface {
	Next(dst [][]byte) (int, error)
	Detach()
}

// Frames attaches streams of frames, as frames.Service does. An error, of a cursor too,
// that is a *wire.Error is what the client is told.
type Frames func(ctx context.Context, runID string, after *int64, wake func()) (FrameCursor, error)

// OwnFrames are those of runs of this gateway.
func OwnFrames(s *frames.Service) Frames {
	return func(ctx context.Context, runID string, after *int64, wake func()) (FrameCursor, error) {
		return s.Watch(ctx, runID, after, wake)
	}
}

// Deps are what connections work on. Router, Log and Frames are required.
type Deps struct {
	Router   Router
	Log      *eventlog.Log
	Frames   Frames
	Streams  *rpc.StreamCaps      // shared with other transports; nil: its own
	Identity func() wire.Identity // nil: an empty one
	Metrics  Metrics              // nil: none
	Logger   *zap.Logger          // nil: none
	Tracer   *tracing.Tracer      // knows the provider of calls; nil: none
	Now      func() time.Time     // nil: time.Now
}

// Site says how one upgrade request is to be treated.
type Site struct {
	// Auth knows callers. It serves the socket for its whole life, so after a
	// change of grants it must answer by the new ones. Required.
	Auth auth.Authenticator
	// ClientAddr is the address that limits before authentication count by; ""
	// means that of the TCP peer.
	ClientAddr string
	// Context may pick the values of the request's context that Auth needs in a
	// later connect; nil keeps none, which saves memory.
	Context context.Context
	// Done, when not nil, is called once: when the request was refused or when the
	// socket has ended.
	Done func()
}

// Metrics is told what happens. Implementations must not block.
type Metrics interface {
	Opened()               // a request became a socket
	Refused(reason string) // a request did not: see the Refused constants
	Closed(reason string)  // a socket ended: see the Closed constants
	Received(messages int)
	Sent(frames int, bytes int) // once per system call
	StreamEnded(code string)    // a run.error was sent
}

// Reasons of Metrics.Refused.
const (
	RefusedLimit     = "limit"
	RefusedAddress   = "address_limit"
	RefusedOrigin    = "origin"
	RefusedHandshake = "handshake"
	RefusedProtocol  = "http_version"
	RefusedDraining  = "draining"
)

// Reasons of Metrics.Closed.
const (
	ClosedClient       = "client"         // close frame or end of stream from the peer
	ClosedNetwork      = "network"        // reading or writing failed
	ClosedProtocol     = "protocol_error" // 1002
	ClosedTooBig       = "message_too_big"
	ClosedAuthDeadline = "auth_deadline"
	ClosedAuthFailed   = "auth_failed"
	ClosedRevoked      = "grant_ended" // 1008 after connect had succeeded
	ClosedLimit        = "connection_limit"
	ClosedBackpressure = "backpressure"
	ClosedSlow         = "write_timeout"
	ClosedStorage      = "event_log"
	ClosedDrain        = "drain"
)

type noMetrics struct{}

func (noMetrics) Opened()            {}
func (noMetrics) Refused(string)     {}
func (noMetrics) Closed(string)      {}
func (noMetrics) Received(int)       {}
func (noMetrics) Sent(int, int)      {}
func (noMetrics) StreamEnded(string) {}

var _ Metrics = noMetrics{}
