package report

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/bench/plot"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// Write makes RESULTS.md and its plots in a folder.
func Write(folder string, machine [][2]string, results []*Result) error {
	plots := filepath.Join(folder, "plots")
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, r := range results {
		for _, p := range r.Plots {
			if err := os.WriteFile(filepath.Join(plots, p.File+".svg"), draw(p), 0o644); err != nil {
				return err
			}
		}
	}
	var b strings.Builder
	write(&b, machine, results)
	return os.WriteFile(filepath.Join(folder, "RESULTS.md"), []byte(b.String()), 0o644)
}

func draw(p Plot) []byte {
	c := plot.Chart{Title: p.Title, X: p.X, Y: p.Y}
	for _, s := range p.Series {
		c.Lines = append(c.Lines, plot.Line{Name: s.Name, Points: s.Points})
	}
	return c.SVG()
}

func write(w io.Writer, machine [][2]string, results []*Result) {
	fmt.Fprint(w, "# Results\n\nWritten by `make bench`; [README.md](README.md) tells how each figure is measured and explains the plots.\n\n")
	for _, m := range machine {
		fmt.Fprintf(w, "- %s: %s\n", m[0], m[1])
	}
	fmt.Fprint(w, "\n## Goals\n\nMedians of all rounds.\n\n| scenario | measure | reached | goal | met |\n| --- | --- | ---: | ---: | --- |\n")
	met, all, failed := 0, 0, 0
	for _, r := range results {
		for _, g := range r.Goals {
			all++
			if g.Met() {
				met++
			}
			fmt.Fprintf(w, "| [%s](#%s) | %s | %s | %s | %s |\n", r.Scenario, r.Scenario, g.What, reached(g), wanted(g), verdict(g))
		}
		if r.Error != "" {
			failed++
			fmt.Fprintf(w, "| [%s](#%s) | **failed**: %s | | | no |\n", r.Scenario, r.Scenario, cell(r.Error))
		}
	}
	fmt.Fprintf(w, "\n%d of %d goals are met.", met, all)
	if failed > 0 {
		fmt.Fprintf(w, " Scenarios that failed: %d; goals that they did not measure in all rounds count as not met.", failed)
	}
	fmt.Fprintln(w)
	capacity(w, results)
	for _, r := range results {
		section(w, r)
	}
}

func section(w io.Writer, r *Result) {
	fmt.Fprintf(w, "\n## %s\n\n%s. Measured %s in %s, %d rounds, at commit %s.\n", r.Scenario, r.Title,
		r.At.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second), r.Rounds, r.Commit)
	if r.Settings != "" {
		fmt.Fprintf(w, "\nSettings beyond the defaults: %s.\n", r.Settings)
	}
	if r.Error != "" {
		fmt.Fprintf(w, "\n**It failed and what follows is incomplete:** %s\n", cell(r.Error))
	}
	if len(r.Figures) > 0 {
		fmt.Fprint(w, "\n| who | what | median | min – max | rounds |\n| --- | --- | ---: | ---: | ---: |\n")
	}
	for _, f := range r.Figures {
		low, high := stats.Range(f.Rounds)
		fmt.Fprintf(w, "| %s | %s | %s | %s – %s | %d |\n", f.Who, f.What, strings.TrimSpace(Number(f.Median())+" "+f.Unit), Number(low), Number(high), len(f.Rounds))
	}
	for _, p := range r.Plots {
		fmt.Fprintf(w, "\n![%s](plots/%s.svg)\n", p.Title, p.File)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "- %s\n", n)
	}
}

// cell makes one line of a text.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 400 {
		s = strings.ToValidUTF8(s[:400], "") + " …"
	}
	return strings.ReplaceAll(s, "|", "\\|")
}

func reached(g Goal) string {
	switch {
	case g.Missing != "":
		return g.Missing
	case g.Unit == "" && g.Have == 1:
		return "yes"
	case g.Unit == "":
		return "no"
	}
	return Number(g.Have) + " " + g.Unit
}

func wanted(g Goal) string {
	switch {
	case g.Unit == "":
		return "yes"
	case g.AtLeast:
		return "≥ " + Number(g.Want) + " " + g.Unit
	}
	return "≤ " + Number(g.Want) + " " + g.Unit
}

func verdict(g Goal) string {
	if g.Met() {
		return "yes"
	}
	return "**no**"
}

// Number writes a value with three digits or, when it is larger, whole with commas.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	}
	return trim(strconv.FormatFloat(v, 'f', 2, 64))
}

// trim drops zeros behind the point.
func trim(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

func thousands(s string) string {
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return s[:len(s)-len(strings.TrimPrefix(s, "-"))] + digits
}
