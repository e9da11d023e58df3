package sse

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Options are the limits and times of all streams. Configure may change them while
// streams are open.
type Options struct {
	Limits       rpc.StreamLimits
	Heartbeat    time.Duration // between heartbeats; 0: 15 s
	WriteTimeout time.Duration // a reader that accepts no byte for this long is cut; 0: 10 s
	OpenTimeout  time.Duration // for what is read before a stream begins; 0: a minute
	MaxStreamLag int           // events, for the text of run.error; the event log decides
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&o.Heartbeat, wire.TickInterval}, {&o.WriteTimeout, 10 * time.Second}, {&o.OpenTimeout, time.Minute}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	for _, n := range []struct {
		value *int
		def   int
	}{
		{&o.Limits.Total, 20_000}, {&o.Limits.PerUser, 1_024}, {&o.Limits.PerConn, wire.StreamsPerConnection},
		{&o.Limits.PerRun, 20_000}, {&o.MaxStreamLag, eventlog.DefaultMaxLag},
	} {
		if *n.value <= 0 {
			*n.value = n.def
		}
	}
	return o
}

// Position is where a run stands in the database.
type Position struct {
	Ended bool  // its status is terminal
	Last  int64 // seq of its newest event, 0 with none
}

// Deps are what streams work on. Log, Snapshot and Position are required.
type Deps struct {
	Log *eventlog.Log
	// Streams counts streams together with those of other transports; nil: alone.
	Streams *rpc.StreamCaps
	// Snapshot is the state of a run for a gap; null when the run is gone.
	Snapshot func(ctx context.Context, runID string) (json.RawMessage, error)
	// Position reads status and newest event in one snapshot of the database.
	Position func(ctx context.Context, runID string) (Position, error)
	Metrics  Metrics     // nil: none
	Logger   *zap.Logger // nil: none
}

// Request is a stream that a caller may have.
type Request struct {
	RunID     string
	After     *int64 // nil: live only
	Principal *auth.Principal
	// Conn names the client's connection, to count its streams; "" counts none.
	Conn string
	// Recheck reports why the grant no longer holds, nil while it does.
	Recheck func() *wire.Error
	// Exiting reports that the process is about to end; nil: never. Asked at every
	// heartbeat, in case nobody drains.
	Exiting func() bool
}

// Metrics is told what happens. Implementations must not block.
type Metrics interface {
	Opened()
	Closed(reason string)   // see the Closed constants
	Sent(events, bytes int) // once per flush
}

// Reasons of Metrics.Closed.
const (
	ClosedCompleted    = "completed"
	ClosedClient       = "client"
	ClosedSlow         = "write_timeout"
	ClosedNetwork      = "network"
	ClosedRevoked      = "grant_ended"
	ClosedBackpressure = "backpressure"
	ClosedStorage      = "event_log"
	ClosedDrain        = "drain"
)

type noMetrics struct{}

func (noMetrics) Opened()       {}
func (noMetrics) Closed(string) {}
func (noMetrics) Sent(int, int) {}
