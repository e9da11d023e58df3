package stats

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{7}, 0.99, 7},
		{[]float64{1, 2}, 0, 1},
		{[]float64{2, 1}, 1, 2},
		{[]float64{10, 20, 30, 40, 50}, 0.25, 20},
	} {
		if got := Quantile(tc.values, tc.q); got != tc.want {
			t.Errorf("Quantile(%v, %v) is %v, not %v", tc.values, tc.q, got, tc.want)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("the median of nothing is a number")
	}
	values := []float64{3, 1, 2}
	Median(values)
	if values[0] != 3 {
		t.Error("Median has changed its argument")
	}
}

func TestRange(t *testing.T) {
	if low, high := Range([]float64{2, 9, 4}); low != 2 || high != 9 {
		t.Errorf("range %v to %v", low, high)
	}
	if low, _ := Range(nil); !math.IsNaN(low) {
		t.Error("the range of nothing is a number")
	}
}

func TestPercentile(t *testing.T) {
	var times Times
	for i := 100; i > 0; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	for p, want := range map[float64]float64{0: 1, 1: 1, 50: 50, 99: 99, 99.5: 100, 100: 100} {
		if got := times.Percentile(p); got != want {
			t.Errorf("percentile %v is %v ms, not %v", p, got, want)
		}
	}
	if !math.IsNaN(Times(nil).Percentile(50)) {
		t.Error("a percentile of nothing is a number")
	}
}
