// Package stats condenses samples.
package stats

import (
	"math"
	"slices"
	"time"
)

// Median of values; NaN of none. The values are not changed.
func Median(values []float64) float64 { return Quantile(values, 0.5) }

// Quantile is the value below which the part q (0 to 1) of the values lies, by linear
// interpolation between neighbours; NaN of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Range is the smallest and the largest value; NaN of none.
func Range(values []float64) (low, high float64) {
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(values), slices.Max(values)
}

// Times collects durations of one round.
type Times []time.Duration

// Percentile p (0 to 100) in milliseconds, the nearest rank; NaN of none. It sorts t.
func (t Times) Percentile(p float64) float64 {
	if len(t) == 0 {
		return math.NaN()
	}
	slices.Sort(t)
	rank := int(math.Ceil(p/100*float64(len(t)))) - 1
	return Ms(t[min(max(rank, 0), len(t)-1)])
}

// Ms is a duration in milliseconds.
func Ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
