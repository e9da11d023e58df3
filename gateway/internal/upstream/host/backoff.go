package host

import (
	"math/rand/v2"
	"time"
)

// Pauses between a process's end and the next one's start.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
	// steadyAfter is how long a process must have been ready for the pauses to begin
	// at the first again: some times what a start takes, so that a process that crashes
	// a moment after each start is held back and one that has worked is not.
	steadyAfter = 5 * time.Second
)

// backoff counts the processes that did not last. Not safe for concurrent use.
type backoff struct {
	failures int
	random   func() float64 // in [0, 1)
}

// next is told how long the last process was ready and returns the pause before the
// next: doubling up to backoffMost, each between 75 and 125 % of that, so that the
// gateways of a failed machine do not come back in step.
func (b *backoff) next(ready time.Duration) time.Duration {
	if ready >= steadyAfter {
		b.failures = 0
	}
	pause := backoffMost
	if b.failures < 10 {
		pause = min(backoffMost, backoffFirst<<b.failures)
	}
	b.failures++
	random := b.random
	if random == nil {
		random = rand.Float64
	}
	return time.Duration(float64(pause) * (0.75 + random()/2))
}
