package auth

import (
	"math"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxThrottled bounds the addresses a Throttle remembers. When there are more, those
// that failed least are forgotten first.
const maxThrottled = 65_536

// throttleWindow is the time over which failures are counted.
const throttleWindow = time.Minute

// Throttle counts failed authentications by client address. Who shows a valid token is
// never asked about, so an address that many share, such as that of an Ingress whose
// clients cannot be told apart, is never closed to them. Safe for concurrent use.
type Throttle struct {
	mu    sync.Mutex
	limit int
	spent map[string]*failures
	now   func() time.Time
}

// failures fall with time, by the limit in each window.
type failures struct {
	count float64
	at    time.Time
}

// NewThrottle makes a throttle that allows so many failures of an address a minute.
func NewThrottle(limit int) *Throttle {
	return &Throttle{limit: limit, spent: map[string]*failures{}, now: time.Now}
}

// Configure changes the limit.
func (t *Throttle) Configure(limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limit = limit
}

// Failed notes a failure of a client address and returns what the client is to be told:
// nil, for the failure itself, or that there were too many. First is true when the
// limit has just been reached.
func (t *Throttle) Failed(address string) (refusal *wire.Error, first bool) {
	key, now := AddressKey(address), t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.spent[key]
	if f == nil {
		if len(t.spent) >= maxThrottled {
			t.sweep(now)
		}
		f = &failures{at: now}
		t.spent[key] = f
	}
	t.age(f, now)
	if f.count+1 <= float64(t.limit) {
		f.count++
		return nil, f.count+1 > float64(t.limit)
	}
	wait := time.Duration((f.count + 1 - float64(t.limit)) / float64(t.limit) * float64(throttleWindow))
	return wire.Errorf(wire.CodeRateLimited,
		"Too many failed authentications from this address, and this token is not valid either; try again later.").
		With("retryAfterMs", max(wait.Milliseconds(), 1)), false
}

func (t *Throttle) age(f *failures, now time.Time) {
	if passed := now.Sub(f.at); passed > 0 {
		f.count = max(f.count-float64(t.limit)*float64(passed)/float64(throttleWindow), 0)
	}
	f.at = now
}

// sweep forgets who has not failed for a window. If that leaves little room, it also
// forgets those that failed once, and then anybody: an eighth at a time, or who comes
// from ever new addresses would have all of them looked at each time.
func (t *Throttle) sweep(now time.Time) {
	const left = maxThrottled / 8 * 7
	for key, f := range t.spent {
		if t.age(f, now); f.count == 0 {
			delete(t.spent, key)
		}
	}
	for _, most := range []float64{1, math.Inf(1)} {
		for key, f := range t.spent {
			if len(t.spent) <= left {
				return
			}
			if f.count <= most {
				delete(t.spent, key)
			}
		}
	}
}
