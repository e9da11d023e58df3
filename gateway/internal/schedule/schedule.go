// Package schedule understands cron patterns and finds their ticks in a time zone.
//
// A pattern has five fields, or six with leading seconds, or is an alias such as
// @hourly. It may begin with CRON_TZ=Area/City. Where clocks change, a schedule with
// a fixed hour ticks once a day: a skipped time ticks as long after midnight as it
// would have, a repeated one at its first occurrence. A schedule whose hour field
// begins with * goes by real time.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// MaxPattern bounds a pattern, in bytes.
const MaxPattern = 256

// Errors of Parse and Next.
var (
	// ErrPattern: the text is no cron pattern, or one that never ticks.
	ErrPattern = errors.New("not a cron pattern")
	// ErrTimeZone: the system knows no such time zone.
	ErrTimeZone = errors.New("unknown time zone")
	// ErrOver: no tick is left.
	ErrOver = errors.New("the schedule has no further tick")
)

// Schedule is a pattern in a time zone. Safe for concurrent use.
type Schedule struct {
	expr string
	zone *time.Location
	real bool // hours go by real time
}

// Parse reads a pattern. zone is an IANA name; "" means local time, or the zone
// that the pattern names. Naming two different ones is an error.
func Parse(pattern, zone string) (*Schedule, error) {
	expr := strings.TrimSpace(pattern)
	if len(expr) > MaxPattern {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrPattern, MaxPattern)
	}
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		rest, ok := strings.CutPrefix(expr, prefix)
		if !ok {
			continue
		}
		name, fields, _ := strings.Cut(rest, " ")
		if zone != "" && zone != name {
			return nil, fmt.Errorf("%w: %q and %q are both given", ErrTimeZone, name, zone)
		}
		zone, expr = name, strings.TrimSpace(fields)
		break
	}
	location := time.Local
	if zone != "" && !strings.EqualFold(zone, "local") {
		var err error
		if location, err = time.LoadLocation(zone); err != nil {
			return nil, fmt.Errorf("%w: %q", ErrTimeZone, zone)
		}
	}
	if !gronx.IsValid(expr) {
		return nil, fmt.Errorf("%w: %q", ErrPattern, expr)
	}
	fields, err := gronx.Segments(expr)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrPattern, expr)
	}
	s := &Schedule{expr: expr, zone: location, real: strings.HasPrefix(fields[2], "*")}
	// A pattern may be well formed and name a day that no year has.
	if _, err := s.floating(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), true); err != nil && len(fields) < 7 {
		return nil, fmt.Errorf("%w: %q never ticks", ErrPattern, expr)
	}
	return s, nil
}

// maxSteps bounds the search for a tick: two clock changes a year over a leap day's
// eight.
const maxSteps = 64

// Next returns the first tick after a time, or ErrOver.
func (s *Schedule) Next(after time.Time) (time.Time, error) {
	if s.real {
		return s.nextReal(after.In(s.zone))
	}
	wall, err := wallOf(after.In(s.zone)), error(nil)
	for range maxSteps {
		if wall, err = s.floating(wall, false); err != nil {
			return time.Time{}, err
		}
		// A time that occurs twice counts the first time, which may lie before.
		if tick := s.instant(wall); tick.After(after) {
			return tick, nil
		}
	}
	return time.Time{}, ErrOver
}

// nextReal goes by the clock as it stands until it changes, and from there on by the
// changed one.
func (s *Schedule) nextReal(from time.Time) (time.Time, error) {
	inclusive := false
	for range maxSteps {
		_, offset := from.Zone()
		_, change := from.ZoneBounds()
		wall, err := s.floating(wallOf(from), inclusive)
		if err != nil {
			return time.Time{}, err
		}
		tick := wall.Add(-time.Duration(offset) * time.Second).In(s.zone)
		if change.IsZero() || tick.Before(change) {
			return tick, nil
		}
		from, inclusive = change.In(s.zone), true
	}
	return time.Time{}, ErrOver
}

// floating finds the next tick on a clock that never changes.
func (s *Schedule) floating(wall time.Time, inclusive bool) (time.Time, error) {
	next, err := gronx.NextTickAfter(s.expr, wall, inclusive)
	if err != nil || next.Before(wall) {
		return time.Time{}, ErrOver
	}
	return next, nil
}

// wallOf is the time that a clock on the wall shows, as if it were UTC.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is the first time at which the clock shows wall. One that it skips is
// counted on by the clock as it stood before.
func (s *Schedule) instant(wall time.Time) time.Time {
	_, before := wall.Add(-25 * time.Hour).In(s.zone).Zone()
	first := wall.Add(-time.Duration(before) * time.Second).In(s.zone)
	if wallOf(first).Equal(wall) {
		return first
	}
	_, offset := first.Zone()
	if second := wall.Add(-time.Duration(offset) * time.Second).In(s.zone); wallOf(second).Equal(wall) {
		return second
	}
	return first
}
