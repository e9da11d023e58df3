package engine

import (
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
)

// fakeClock is the shared fake clock as the engine takes it.
type fakeClock struct{ *enginetest.Clock }

func newFakeClock() *fakeClock { return &fakeClock{enginetest.NewClock()} }

func (c *fakeClock) AfterFunc(d time.Duration, f func()) Timer { return c.Clock.AfterFunc(d, f) }

func (c *fakeClock) advance(d time.Duration) { c.Advance(d) }
