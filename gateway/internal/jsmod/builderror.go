package jsmod

import (
	"errors"
	"fmt"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// Reasons of a BuildError that callers may want to tell apart.
var (
	// ErrSmithersModule says that the module needs the Smithers runtime itself.
	ErrSmithersModule = errors.New("this module imports smithers-orchestrator, so it has to run in the Smithers runtime: set runtime to smithers or auto")
	// ErrBuiltin says that the module imports a Node.js built-in.
	ErrBuiltin = errors.New("a Node.js built-in module")
)

// BuildError says why a module cannot be bundled. Problems has every complaint with
// its place; Err is the reason when it is one of this package's, or of the file system.
type BuildError struct {
	Path     string
	Problems []Problem
	Err      error
}

// Problem is one complaint. Line and Column count from 1, 0 means unknown.
type Problem struct {
	File         string // below the module root
	Line, Column int
	Text         string
	Chain        []string // how the module came to import what is complained about
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	}
	b.WriteString(p.Text)
	if len(p.Chain) > 1 {
		fmt.Fprintf(&b, " (imported by %s)", strings.Join(p.Chain, " -> "))
	}
	return b.String()
}

func (e *BuildError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "module %s", e.Path)
	if e.Err != nil && !errors.Is(e.Err, ErrBuiltin) {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	for i, p := range e.Problems {
		if i == 0 && len(e.Problems) == 1 {
			fmt.Fprintf(&b, ": %s", p)
		} else {
			fmt.Fprintf(&b, "\n  %s", p)
		}
	}
	return b.String()
}

func (e *BuildError) Unwrap() error { return e.Err }

// buildError makes one error of esbuild's messages and the resolver's problems.
func buildError(path string, messages []api.Message, r *resolver) error {
	if len(messages) == 0 {
		return nil
	}
	e := &BuildError{Path: path}
	for _, m := range messages {
		p := Problem{Text: m.Text}
		if m.Location != nil {
			p.File, p.Line, p.Column = m.Location.File, m.Location.Line, m.Location.Column+1
		}
		if p.File == entryName {
			p.File = ""
		}
		for _, known := range r.problems {
			if known.text == m.Text {
				p.Chain = known.chain
				if e.Err == nil || errors.Is(known.err, ErrSmithersModule) {
					e.Err = known.err
				}
			}
		}
		e.Problems = append(e.Problems, p)
	}
	return e
}
