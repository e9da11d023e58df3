// Package report keeps the results of scenarios and writes RESULTS.md with its plots.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smithersai/caddy-smithers/bench/stats"
)

// Figure is one thing measured, once a round.
type Figure struct {
	Who    string // gateway, gateway (normal), original, centrifuge, limit, respond
	What   string
	Unit   string
	Rounds []float64
}

// Median of the rounds.
func (f Figure) Median() float64 { return stats.Median(f.Rounds) }

// Goal compares what was reached with what was wanted.
type Goal struct {
	What    string
	Have    float64
	Unit    string
	AtLeast bool // else at most
	Want    float64
	Missing string // why there is no value; "": there is one
}

// Met reports whether the goal is reached.
func (g Goal) Met() bool {
	if g.Missing != "" {
		return false
	}
	if g.AtLeast {
		return g.Have >= g.Want
	}
	return g.Have <= g.Want
}

// Series is one line of a plot.
type Series struct {
	Name   string
	Points [][2]float64
}

// Plot is a diagram with logarithmic axes.
type Plot struct {
	File, Title, X, Y string // file name without folder and ending
	Series            []Series
}

// Result is what one scenario found.
type Result struct {
	Scenario string
	Title    string
	At       time.Time
	Took     time.Duration
	Rounds   int
	Commit   string // of the repository
	Settings string // what was set beyond the defaults
	Error    string // why it ended early; figures up to there are kept
	Figures  []Figure
	Goals    []Goal
	Plots    []Plot
	Notes    []string
}

// Add appends one round's value of a figure and returns the figure.
func (r *Result) Add(who, what, unit string, value float64) *Figure {
	f := r.Find(who, what)
	if f == nil {
		r.Figures = append(r.Figures, Figure{Who: who, What: what, Unit: unit})
		f = &r.Figures[len(r.Figures)-1]
	}
	f.Rounds = append(f.Rounds, value)
	return f
}

// Find looks for a figure; nil: it was not measured.
func (r *Result) Find(who, what string) *Figure {
	for i := range r.Figures {
		if r.Figures[i].Who == who && r.Figures[i].What == what {
			return &r.Figures[i]
		}
	}
	return nil
}

// Complete reports whether a figure was measured in all rounds.
func (r *Result) Complete(who, what string) bool {
	f := r.Find(who, what)
	return f != nil && len(f.Rounds) >= r.Rounds
}

// median is that of a figure for a goal, or why there is none. What a scenario that
// failed measured in some of its rounds does not count.
func (r *Result) median(who, what string) (value float64, missing string) {
	f := r.Find(who, what)
	switch {
	case f == nil:
		return 0, who + " was not measured"
	case r.Error != "" && len(f.Rounds) < r.Rounds:
		return 0, fmt.Sprintf("%s was measured in %d of %d rounds", who, len(f.Rounds), r.Rounds)
	}
	return f.Median(), ""
}

// Ratio states a goal as the median of one figure divided by that of another.
func (r *Result) Ratio(what string, over, under [2]string, unit string, atLeast bool, want float64) {
	a, missing := r.median(over[0], over[1])
	b, missingUnder := r.median(under[0], under[1])
	g := Goal{What: what, Unit: unit, AtLeast: atLeast, Want: want, Missing: cmp.Or(missing, missingUnder)}
	if g.Missing == "" {
		g.Have = a / b
		if unit == "%" {
			g.Have *= 100
		}
	}
	r.Goals = append(r.Goals, g)
}

// Value states a goal as the median of one figure.
func (r *Result) Value(what, who, figure, unit string, atLeast bool, want float64) {
	g := Goal{What: what, Unit: unit, AtLeast: atLeast, Want: want}
	g.Have, g.Missing = r.median(who, figure)
	r.Goals = append(r.Goals, g)
}

// Holds states a goal that either holds or does not, with what was seen.
func (r *Result) Holds(what string, holds bool) {
	have := 0.0
	if holds {
		have = 1
	}
	r.Goals = append(r.Goals, Goal{What: what, Have: have, Unit: "", AtLeast: true, Want: 1})
}

// Note adds a sentence.
func (r *Result) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Folder keeps results as one JSON file a scenario, so that a later run of some
// scenarios replaces only theirs.
type Folder string

// Clear removes all results.
func (f Folder) Clear() error {
	files, err := filepath.Glob(filepath.Join(string(f), "*.json"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// Save writes one result.
func (f Folder) Save(r *Result) error {
	if err := os.MkdirAll(string(f), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("result of %s: %w", r.Scenario, err)
	}
	return os.WriteFile(filepath.Join(string(f), r.Scenario+".json"), data, 0o644)
}

// Load reads the results of these scenarios, those there are, in this order.
func (f Folder) Load(names []string) ([]*Result, error) {
	var all []*Result
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(string(f), name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r := new(Result)
		if err := json.Unmarshal(data, r); err != nil {
			return nil, fmt.Errorf("result of %s: %w", name, err)
		}
		all = append(all, r)
	}
	return all, nil
}
