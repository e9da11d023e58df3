package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// enough measurements to tell a trend from noise.
const enough = 16

// flat holds that what is used does not grow: the last quarter against the second, the
// first one being for caches to fill.
func (m *meter) flat(t *testing.T) {
	n := len(m.points)
	require.Greater(t, n, enough, "too few measurements to mean anything")
	before, after := m.points[n/4:n/2], m.points[n-n/4:]
	for _, q := range []struct {
		name  string
		of    func(point) int64
		slack int64 // besides a tenth
	}{
		{"resident memory", func(p point) int64 { return p.rss }, 24 << 20},
		{"heap", func(p point) int64 { return p.heap }, 6 << 20},
		{"goroutines", func(p point) int64 { return int64(p.goroutines) }, 30},
		{"files", func(p point) int64 { return int64(p.files) }, 30},
		{"write-ahead log", func(p point) int64 { return p.wal }, 64 << 20},
	} {
		was, is := median(before, q.of), median(after, q.of)
		t.Logf("%s: median %d in the second quarter, %d in the last", q.name, was, is)
		require.LessOrEqual(t, is, was+was/10+q.slack, q.name)
	}
}

func median(points []point, of func(point) int64) int64 {
	values := make([]int64, 0, len(points))
	for _, p := range points {
		values = append(values, of(p))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// Size of the plot in pixels.
const (
	plotWidth, plotHeight = 760, 340
	plotLeft, plotBottom  = 60, 40
	plotTop, plotRight    = 20, 20
)

// plot draws the measurements as SVG: bytes over time.
func (m *meter) plot() string {
	lines := []struct {
		name, colour string
		of           func(point) int64
	}{
		{"resident memory", "#1f6feb", func(p point) int64 { return p.rss }},
		{"heap in use after a collection", "#d1242f", func(p point) int64 { return p.heap }},
		{"database file", "#8250df", func(p point) int64 { return p.db }},
		{"write-ahead log", "#57606a", func(p point) int64 { return p.wal }},
	}
	most := int64(1)
	for _, p := range m.points {
		for _, l := range lines {
			most = max(most, l.of(p))
		}
	}
	step := int64(16 << 20)
	for most/step > 8 {
		step *= 2
	}
	top := (most/step + 1) * step
	end := m.points[len(m.points)-1].at
	x := func(p point) float64 {
		return plotLeft + float64(p.at)/float64(end)*(plotWidth-plotLeft-plotRight)
	}
	y := func(v int64) float64 {
		return plotHeight - plotBottom - float64(v)/float64(top)*(plotHeight-plotBottom-plotTop)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	for v := int64(0); v <= top; v += step {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#d8dee4"/><text x="%d" y="%.1f" text-anchor="end">%d MiB</text>`+"\n",
			plotLeft, y(v), plotWidth-plotRight, plotLeft-6, y(v)+4, v>>20)
	}
	for i := range 7 {
		at := end * time.Duration(i) / 6
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.1f min</text>`+"\n", x(point{at: at}), plotHeight-plotBottom+18, at.Minutes())
	}
	for i, l := range lines {
		var path strings.Builder
		for n, p := range m.points {
			command := "L"
			if n == 0 {
				command = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", command, x(p), y(l.of(p)))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), l.colour)
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotLeft+10+i*170, plotHeight-6, l.colour, l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
