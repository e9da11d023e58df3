package observe

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// query is a question to Prometheus that must be answered with at least one series, and
// the labels that one of them must have.
type query struct {
	what, expr string
	labels     []string
}

var (
	selector = regexp.MustCompile(`\b(?:smithers_[a-z_]+|up)\b(?:\{[^}]*\})?`)
	compared = regexp.MustCompile(` (?:==|>=|<=|>|<) `)
	grouped  = regexp.MustCompile(`by \(([^)]+)\)`)
	inLegend = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

type panel struct {
	Title   string
	Targets []struct{ Expr, LegendFormat string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	text, err := os.ReadFile(folder + "grafana-dashboard.json")
	require.NoError(t, err)
	var board struct{ Panels []panel }
	require.NoError(t, json.Unmarshal(text, &board))
	return board.Panels
}

var quantile = regexp.MustCompile(`histogram_quantile\((0\.\d+),`)

// A legend of a quantile says which.
func TestQuantilesAreNamed(t *testing.T) {
	found := 0
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			if m := quantile.FindStringSubmatch(target.Expr); m != nil {
				part, err := strconv.ParseFloat(m[1], 64)
				require.NoError(t, err)
				require.Regexp(t, fmt.Sprintf(`\bp%g\b`, math.Round(part*1000)/10), p.Title+": "+target.LegendFormat)
				found++
			}
		}
	}
	require.Positive(t, found)
}

// queries are those of the panels, as Grafana would send them, and of the alerts: every
// selector with its filter, and each side of a comparison, whose result while all is well
// is nothing.
func queries(t *testing.T) (all []query) {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "15s", "$instance", ".*")
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			all = append(all, query{what: "panel " + p.Title, expr: fill.Replace(target.Expr), labels: labels(target.Expr, target.LegendFormat)})
		}
	}
	require.Greater(t, len(all), 30)
	for _, a := range alerts(t) {
		for _, s := range selector.FindAllString(a.Expr, -1) {
			all = append(all, query{what: "filter of " + a.Alert, expr: s})
		}
		side := compared.Split(a.Expr, 2)[0]
		require.NotEqual(t, a.Expr, side, "%s compares nothing", a.Alert)
		all = append(all, query{what: "alert " + a.Alert, expr: side, labels: labels(side, a.Annotations["summary"])})
	}
	return all
}

// labels are those that a legend or an annotation shows, and by which is summed; le is
// gone when a quantile is taken.
func labels(expr, shown string) (names []string) {
	for _, m := range inLegend.FindAllStringSubmatch(shown, -1) {
		names = append(names, m[1])
	}
	for _, m := range grouped.FindAllStringSubmatch(expr, -1) {
		names = append(names, strings.Split(m[1], ", ")...)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "le" })
	slices.Sort(names)
	return slices.Compact(names)
}

// unanswered says what is wrong with the answer to a query; "" for nothing.
func (q query) unanswered(series []map[string]string) string {
	if len(series) == 0 {
		return fmt.Sprintf("%s: no series for %s", q.what, q.expr)
	}
	for _, name := range q.labels {
		if !slices.ContainsFunc(series, func(s map[string]string) bool { return s[name] != "" }) {
			return fmt.Sprintf("%s: no series of %s has the label %s", q.what, q.expr, name)
		}
	}
	return ""
}

func TestQueries(t *testing.T) {
	require.Equal(t, []string{"instance", "method"}, labels(`histogram_quantile(0.99, sum by (method, le) (x))`, "{{ $labels.instance }} and {{method}}"))
	q := query{what: "w", expr: "x", labels: []string{"a"}}
	require.Contains(t, q.unanswered(nil), "no series for x")
	require.Contains(t, q.unanswered([]map[string]string{{"b": "1"}}), "label a")
	require.Empty(t, q.unanswered([]map[string]string{{"b": "1"}, {"a": "1"}}))
}
