package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tests is what the tests of one folder do, by function.
type tests map[string]*function

type function struct {
	calls map[string]bool // names of functions and methods that it calls
	takes map[string]bool // "document part" of each call of Tested
}

// readTests reads the tests of a folder.
func readTests(t *testing.T, folder string) tests {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	found := tests{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Body != nil {
				found[f.Name.Name] = readFunction(f)
			}
		}
	}
	return found
}

func readFunction(f *ast.FuncDecl) *function {
	found := &function{calls: map[string]bool{}, takes: map[string]bool{}}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Tested" {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "docs" {
					found.takes[literals(n.Args)] = true
				}
			}
		case *ast.Ident: // called, or handed on to be called
			found.calls[n.Name] = true
		}
		return true
	})
	return found
}

// literals joins the texts among the arguments of a call.
func literals(args []ast.Expr) string {
	var all []string
	for _, a := range args {
		if l, ok := a.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, _ := strconv.Unquote(l.Value)
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}

// takes reports whether a function, or one of the folder that it calls, takes blocks.
func (s tests) takes(name, what string, seen map[string]bool) bool {
	f := s[name]
	if f == nil || seen[name] {
		return false
	}
	if f.takes[what] {
		return true
	}
	seen[name] = true
	for called := range f.calls {
		if s.takes(called, what, seen) {
			return true
		}
	}
	return false
}

// problem says what is wrong with the mark of a block, or "".
func problem(t *testing.T, b Block, known map[string]tests) string {
	m, err := ParseMark(b.Mark)
	if err != nil {
		return err.Error()
	}
	if known[m.Folder] == nil {
		known[m.Folder] = readTests(t, filepath.Join(root, filepath.FromSlash(m.Folder)))
	}
	what := strings.TrimSpace(b.File + " " + m.Part)
	switch {
	case known[m.Folder][m.Test] == nil:
		return "there is no " + m.Test + " in " + m.Folder
	case !known[m.Folder].takes(m.Test, what, map[string]bool{}):
		return m.Test + " does not take this block: it has no docs.Tested of " + what
	}
	return ""
}

// TestMarks: every block of every document names the test that takes it out of the document
// and runs it, and the test does; package docs sees to it while the test runs that none is
// left over.
func TestMarks(t *testing.T) {
	known := map[string]tests{}
	counts := map[string]int{}
	for _, d := range documents(t) {
		for _, line := range d.Indented {
			t.Errorf("%s:%d: use a fence with a language and a mark, not an indented block", d.Path, line)
		}
		for _, b := range d.Blocks {
			counts[b.Lang]++
			if p := problem(t, b, known); p != "" {
				t.Errorf("%s:%d: %s", b.File, b.Line, p)
			}
		}
	}
	for _, lang := range []string{"sh", "js", "ts", "caddyfile"} {
		require.Positive(t, counts[lang], lang)
	}
}

func TestMarksRefuses(t *testing.T) {
	known := map[string]tests{"e2e": {
		"TestA": {calls: map[string]bool{"helper": true}}, "TestB": {calls: map[string]bool{"TestB": true}},
		"helper": {takes: map[string]bool{"a.md": true, "a.md edge": true}},
	}}
	for mark, ok := range map[string]bool{
		"tested: e2e TestA": true, "tested: e2e TestA edge": true, "checked: e2e TestA; needs luck": true,
		"": false, "tested: e2e TestB": false, "tested: e2e TestC": false, "tested: e2e TestA other": false, "tested: nowhere TestA": false,
	} {
		require.Equal(t, ok, problem(t, Block{File: "a.md", Mark: mark}, known) == "", mark)
	}
	require.NotEmpty(t, problem(t, Block{File: "b.md", Mark: "tested: e2e TestA"}, known))
}

// TestWhatIsOnlyChecked: the blocks that no test runs whole are told of in CONTRIBUTING.md.
func TestWhatIsOnlyChecked(t *testing.T) {
	told := map[string]bool{}
	var documented string
	for _, d := range documents(t) {
		if d.Path == "CONTRIBUTING.md" {
			documented = d.Prose
		}
		for _, b := range d.Blocks {
			if m, err := ParseMark(b.Mark); err == nil && m.Needs != "" {
				told["| ["+b.File+"]("+b.File+") | "+m.Needs+" |"] = true
			}
		}
	}
	require.NotEmpty(t, told)
	rows := 0
	for line := range strings.Lines(documented) {
		for row := range told {
			if strings.HasPrefix(line, row) {
				rows++
			}
		}
	}
	for row := range told {
		require.True(t, strings.Contains(documented, "\n"+row), "CONTRIBUTING.md has no row that begins with %s", row)
	}
	require.Equal(t, len(told), rows, "rows of blocks that are there no more")
}
