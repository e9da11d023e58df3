// Package source describes a Smithers gateway that stands behind this one: where it
// answers, who it believes, and whether it is there. A supervised host process is one
// (package host), a gateway that somebody else runs is another.
package source

import (
	"context"
	"errors"
	"net"
	"time"
)

// ErrDown is wrapped by errors of a source that does not answer now and may later.
var ErrDown = errors.New("the Smithers process is not running; try again shortly")

// State is what a source is doing.
type State int

// States of a source.
const (
	Starting State = iota // a process was started and has not answered yet
	Ready                 // its health endpoint has answered
	Down                  // it has ended or does not answer; it will be tried again
	Stopped               // it will not come back
)

func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Ready:
		return "ready"
	case Down:
		return "down"
	}
	return "stopped"
}

// Status is a source at one moment.
type Status struct {
	State      State
	Generation int       // number of the process or connection, from 1
	PID        int       // 0: no process, or not ours
	Since      time.Time // of State
	Restarts   int       // processes started after the first
	RSS        int64     // bytes of memory; 0: not known
	Err        error     // why Down or Stopped
	RetryAt    time.Time // while Down: when it is tried again
}

// Source is a Smithers gateway. All methods are safe for concurrent use.
type Source interface {
	// ID names the source in logs and metrics; unique in this process.
	ID() string
	// BaseURL is the beginning of its URLs, without a slash at the end. Requests to it
	// must use Dial, as its host part may be a placeholder.
	BaseURL() string
	// Dial opens a connection to it. While the source is not Ready the error wraps
	// ErrDown.
	Dial(ctx context.Context) (net.Conn, error)
	// Identity says how callers are named to it.
	Identity() Identity
	// Status is its state now.
	Status() Status
	// Watch returns a channel that holds the newest status that was not received yet,
	// the present one at first, until stop is called. A slow receiver misses states in
	// between, never the last one.
	Watch() (updates <-chan Status, stop func())
}

// Feeder is a Source that hands rows of its durable logs over by itself, which is much
// quicker than to ask for them. It may leave any out: the log has all.
type Feeder interface {
	Source
	// Feed opens a connection that brings lines of JSON, {"run":ID,"rows":[...]}: rows of
	// the log of a run as it gives them to readers, from one that was handed over before.
	// Without rows the log is to be read. The first line, {}, says that nothing will be
	// forgotten from then on. Errors as of Dial; the newest connection ends the one before.
	Feed(ctx context.Context) (net.Conn, error)
}
