package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestSVGIsXMLWithAllPoints(t *testing.T) {
	c := Chart{Title: "a < b & c", X: "sockets", Y: "frames", Lines: []Line{
		{Name: "one", Points: [][2]float64{{1, 10}, {10, 1e6}, {100, math.NaN()}, {0, 5}}},
		{Name: "two", Points: [][2]float64{{5, 3}}},
		{Name: "none"},
	}}
	circles := 0
	d := xml.NewDecoder(strings.NewReader(string(c.SVG())))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 3 {
		t.Errorf("%d circles for 3 points that can be drawn", circles)
	}
}

func TestNothingToDraw(t *testing.T) {
	if out := string((Chart{Title: "empty"}).SVG()); !strings.Contains(out, "empty") || strings.Contains(out, "NaN") {
		t.Errorf("%s", out)
	}
}

func TestMarksLieInside(t *testing.T) {
	for _, a := range []axis{{0, 4}, {1.25, 2.5}, {-1, 0.25}} {
		marks := a.marks()
		if len(marks) < 2 {
			t.Errorf("%v has the marks %v", a, marks)
		}
		for _, m := range marks {
			if a.at(m) < -1e-6 || a.at(m) > 1+1e-6 {
				t.Errorf("mark %v lies outside of %v", m, a)
			}
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{1: "1", 250: "250", 12_000: "12k", 2_500_000: "2.5M", 0.5: "0.5"} {
		if got := short(v); got != want {
			t.Errorf("%v is %q", v, got)
		}
	}
}
