// Package plot draws line charts with logarithmic axes as SVG.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Chart is one diagram. Points with a coordinate that is not above zero are left out.
type Chart struct {
	Title, X, Y string
	Lines       []Line
}

// Line is one named series, its points in ascending order of x.
type Line struct {
	Name   string
	Points [][2]float64
}

const (
	width, height                  = 720, 420
	left, right, top, bottom       = 78, 150, 40, 52
	plotWidth, plotHeight          = width - left - right, height - top - bottom
	fontFamily                     = "sans-serif"
	gridColour, axisColour, ground = "#d8d8d8", "#444", "#fff"
)

// colours are told apart by people with the usual weaknesses of colour vision, too.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d00"}

// axis maps values to pixels.
type axis struct{ low, high float64 } // log10

func (a axis) at(v float64) float64 { return (math.Log10(v) - a.low) / (a.high - a.low) }

// span finds the axis of a coordinate: whole half decades around all values.
func (c Chart) span(i int) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if drawable(p) {
				low, high = min(low, math.Log10(p[i])), max(high, math.Log10(p[i]))
			}
		}
	}
	if low > high {
		return axis{0, 1}
	}
	a := axis{math.Floor(low*4) / 4, math.Ceil(high*4) / 4}
	if a.high-a.low < 0.5 {
		a.low, a.high = a.low-0.25, a.high+0.25
	}
	return a
}

func drawable(p [2]float64) bool {
	return p[0] > 0 && p[1] > 0 && !math.IsInf(p[0], 0) && !math.IsInf(p[1], 0)
}

// SVG returns the drawing.
func (c Chart) SVG() []byte {
	var b bytes.Buffer
	x, y := c.span(0), c.span(1)
	px := func(v float64) float64 { return left + x.at(v)*plotWidth }
	py := func(v float64) float64 { return top + (1-y.at(v))*plotHeight }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="%s" font-size="12">`+"\n",
		width, height, width, height, fontFamily)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", width, height, ground)
	text(&b, left, 22, "start", "bold", c.Title)
	text(&b, left+plotWidth/2, height-12, "middle", "normal", c.X)
	fmt.Fprintf(&b, `<g transform="rotate(-90 16 %d)">`, top+plotHeight/2)
	text(&b, 16, top+plotHeight/2, "middle", "normal", c.Y)
	fmt.Fprint(&b, "</g>\n")
	for _, v := range x.marks() {
		line(&b, px(v), top, px(v), top+plotHeight)
		text(&b, px(v), top+plotHeight+18, "middle", "normal", short(v))
	}
	for _, v := range y.marks() {
		line(&b, left, py(v), left+plotWidth, py(v))
		text(&b, left-8, py(v)+4, "end", "normal", short(v))
	}
	fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="%s"/>`+"\n", left, top, plotWidth, plotHeight, axisColour)
	for i, l := range c.Lines {
		c.draw(&b, i, l, px, py)
	}
	fmt.Fprint(&b, "</svg>\n")
	return b.Bytes()
}

func (c Chart) draw(b *bytes.Buffer, i int, l Line, px, py func(float64) float64) {
	colour := colours[i%len(colours)]
	var at []string
	for _, p := range l.Points {
		if drawable(p) {
			at = append(at, fmt.Sprintf("%.1f,%.1f", px(p[0]), py(p[1])))
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %s, %s</title></circle>`+"\n",
				px(p[0]), py(p[1]), colour, html.EscapeString(l.Name), short(p[0]), short(p[1]))
		}
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(at, " "), colour)
	row := float64(top + 10 + 20*i)
	fmt.Fprintf(b, `<rect x="%d" y="%.0f" width="12" height="3" fill="%s"/>`, left+plotWidth+12, row-5, colour)
	text(b, left+plotWidth+30, row, "start", "normal", l.Name)
}

// marks are 1, 2 and 5 of each decade, or only 1 when there are many decades.
func (a axis) marks() []float64 {
	steps := []float64{1, 2, 5}
	if a.high-a.low > 3 {
		steps = steps[:1]
	}
	var all []float64
	for d := math.Floor(a.low); d <= a.high; d++ {
		for _, s := range steps {
			if v := s * math.Pow(10, d); a.at(v) >= -1e-9 && a.at(v) <= 1+1e-9 {
				all = append(all, v)
			}
		}
	}
	return all
}

func line(b *bytes.Buffer, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, gridColour)
}

func text(b *bytes.Buffer, x, y float64, anchor, weight, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-weight="%s">%s</text>`+"\n", x, y, anchor, weight, html.EscapeString(s))
}

// short writes 12000 as 12k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
