package scripttest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// differences lists every difference between what a script workflow and the compiled
// workflow of the same scenario log, with its reason. Lines are shown as the part that
// differs; everything else must be equal, byte for byte.
var differences = []struct {
	scenario       string // golden file here
	compiledAs     string // golden file of the compiled one; "": the same name
	script, inGo   string
	reason         string
	lineOfScenario int // in the golden file, from 1
}{
	{scenario: "duplicate", lineOfScenario: 6, inGo: `node id \"a\" is used twice in iteration 0; ids must be unique within an iteration`,
		script: `ctx.task(\"a\"): node id \"a\" is already used in iteration 0 of this run; give every node of one iteration an id of its own`,
		reason: "the script host refuses the call itself, so that the error has the place in the user's file and can be caught"},
	{scenario: "workflow-throws", compiledAs: "workflow-panic", lineOfScenario: 3, script: `"name":"Error"`, inGo: `"name":"Panic"`,
		reason: "a compiled workflow panics where a script throws"},
}

// compiledOnly and scriptOnly are the scenarios that exist on one side, with the reason.
var (
	compiledOnly = map[string]string{
		"outage":          "the storage is the engine's affair",
		"panic":           "a script has no panic; a throw is what retries shows",
		"workflow-panic":  "compared with workflow-throws",
		"wrong-goroutine": "a script has one thread; ctx inside a task is refused by the script host",
	}
	scriptOnly = map[string]string{
		"branch":           "plain control flow of the language",
		"branch-else":      "plain control flow of the language",
		"everything":       "the compiled one is in the crash test",
		"loop-in-parallel": "likewise",
		"parallel-limit":   "the compiled limit is tested without a golden file",
		"parallel-two":     "the compiled one is called parallel, with max 1",
		"race":             "compiled workflows have no race of promises",
		"stalled":          "a compiled workflow cannot wait for nothing",
		"stderr":           "compiled tasks log to one stream",
		"workflow-throws":  "compared with workflow-panic",
	}
)

func compiledPath(name string) string {
	return filepath.Join("..", "testdata", "golden", name+".txt")
}

// TestScriptsLogWhatCompiledWorkflowsLog compares the golden files of both sides.
func TestScriptsLogWhatCompiledWorkflowsLog(t *testing.T) {
	expected := map[string]string{} // what the script's log must be, by scenario
	for _, d := range differences {
		as := d.compiledAs
		if as == "" {
			as = d.scenario
		}
		lines := strings.Split(read(t, compiledPath(as)), "\n")
		line := lines[d.lineOfScenario-1]
		require.Equal(t, 1, strings.Count(line, d.inGo), "%s, line %d: %s", as, d.lineOfScenario, line)
		lines[d.lineOfScenario-1] = strings.Replace(line, d.inGo, d.script, 1)
		expected[d.scenario] = strings.Join(lines, "\n")
	}
	compared := 0
	for _, name := range goldenNames(t, filepath.Join("..", "testdata", "golden")) {
		if compiledOnly[name] != "" {
			require.NoFileExists(t, goldenPath(name))
			continue
		}
		require.FileExists(t, goldenPath(name), "no script does what the compiled scenario %s does", name)
		if expected[name] == "" {
			expected[name] = read(t, compiledPath(name))
		}
	}
	for name, want := range expected {
		require.Equal(t, withoutNames(want), withoutNames(read(t, goldenPath(name))), name)
		compared++
	}
	require.Greater(t, compared, 40)
	for _, name := range goldenNames(t, filepath.Join("testdata", "golden")) {
		require.True(t, expected[name] != "" || scriptOnly[name] != "", "%s has no counterpart and no reason", name)
	}
}

// names are what the description of a node has under another name here and there: ids of
// blocks, which each kind of workflow makes in its own way, and child workflows, all of
// which are in one module here.
var names = regexp.MustCompile(`("kind":"(?:parallel|branch|loop)"),"id":"[^"]*"|,"workflow":"[^"]*"`)

func withoutNames(log string) string { return names.ReplaceAllString(log, "$1") }

// TestGoldenFilesAreUsed holds that no file is left of a scenario that is gone.
func TestGoldenFilesAreUsed(t *testing.T) {
	used := map[string]bool{}
	for _, s := range scenarios() {
		require.False(t, used[s.file()], "%s is written twice", s.file())
		used[s.file()] = true
	}
	for _, name := range goldenNames(t, filepath.Join("testdata", "golden")) {
		require.True(t, used[name], name)
	}
}

func goldenNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
