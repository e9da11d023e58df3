package engine

import "time"

// Clock is the engine's only source of time. Safe for concurrent use.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine of its own after d.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending AfterFunc.
type Timer interface {
	// Stop prevents the call if it has not begun and reports whether it did.
	Stop() bool
}

type realClock struct{ started time.Time }

// Elapsed implements monotonic.
func (c realClock) Elapsed() time.Duration { return time.Since(c.started) }

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
