package jsmod

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// MaxDuration is the longest time a workflow may ask to wait: a hundred years.
const MaxDuration = 100 * 365 * 24 * time.Hour

// ErrDuration is wrapped by the errors of ParseDuration.
var ErrDuration = errors.New("not a duration")

var durationUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// ParseDuration reads a text such as "5m", "1h30m", "1.5h", "2d" or "250ms". Spaces
// between the parts are allowed, signs and repeated units are not.
func ParseDuration(text string) (time.Duration, error) {
	fail := func(why string) (time.Duration, error) {
		if len(text) > 64 {
			text = text[:64] + "…"
		}
		return 0, fmt.Errorf("%w: %q %s; write it as in \"5m\", \"1h30m\" or \"250ms\" (units ms, s, m, h, d, w)", ErrDuration, text, why)
	}
	rest := strings.TrimSpace(text)
	if rest == "" {
		return fail("is empty")
	}
	var total float64
	seen := map[string]bool{}
	for rest != "" {
		i := 0
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '.') {
			i++
		}
		var n float64
		if i == 0 || i > 32 {
			return fail("needs a number before each unit")
		}
		if _, err := fmt.Sscanf(rest[:i], "%g", &n); err != nil || strings.Count(rest[:i], ".") > 1 || rest[i-1] == '.' {
			return fail("has a malformed number")
		}
		rest = rest[i:]
		i = 0
		for i < len(rest) && rest[i] >= 'a' && rest[i] <= 'z' {
			i++
		}
		unit, ok := durationUnits[rest[:i]]
		if !ok {
			return fail("has an unknown or missing unit")
		}
		if seen[rest[:i]] {
			return fail("names a unit twice")
		}
		seen[rest[:i]] = true
		total += n * float64(unit)
		rest = strings.TrimLeft(rest[i:], " ")
	}
	if total > float64(MaxDuration) || math.IsNaN(total) {
		return fail("is longer than a hundred years")
	}
	return time.Duration(total), nil
}
