package docs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root is the repository that the working folder is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "internal", "docs", "doc.go")); missing == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			err = errors.New("docs: not within a checkout of this repository")
		}
		dir = up
	}
	return "", err
}

// Open reads a document, named from the root of the repository.
func Open(t testing.TB, document string) Document {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(document)))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(document, string(text))
}

// Find returns the blocks of a document with a mark, which belong to another test.
func Find(t testing.TB, document, mark string) []Block {
	t.Helper()
	var found []Block
	for _, b := range Open(t, document).Blocks {
		if b.Mark == mark {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no block marked %q", document, mark)
	}
	return found
}

// Taken is the blocks of one document that one test runs, in the document's order. It is
// of one goroutine.
type Taken struct {
	t      testing.TB
	blocks []Block
	next   int
}

// Tested returns the blocks of a document whose marks name the test that calls it, in the
// folder of the test, and the part, if one is given. The test fails if there are none, and
// in the end if it has not taken each. Both arguments must be literals: TestMarks reads them.
func Tested(t testing.TB, document string, part ...string) *Taken {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Rel(root, dir)
	if err != nil {
		t.Fatal(err)
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	taken := &Taken{t: t}
	for _, b := range Open(t, document).Blocks {
		m, err := ParseMark(b.Mark)
		if err == nil && m.Folder == filepath.ToSlash(folder) && m.Test == test && m.Part == strings.Join(part, " ") {
			taken.blocks = append(taken.blocks, b)
		}
	}
	if len(taken.blocks) == 0 {
		t.Fatalf("%s has no block for %s %v", document, test, part)
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		for _, b := range taken.blocks[taken.next:] {
			t.Errorf("%s:%d: the block was never run", b.File, b.Line)
		}
	})
	return taken
}

// Left is how many blocks have not been taken.
func (s *Taken) Left() int { return len(s.blocks) - s.next }

// Next takes the next block; there must be one.
func (s *Taken) Next() Block {
	s.t.Helper()
	if s.Left() == 0 {
		s.t.Fatal("docs: all blocks have been taken")
	}
	s.next++
	return s.blocks[s.next-1]
}

// Script takes all that is left, as one script.
func (s *Taken) Script() string {
	s.t.Helper()
	texts := []string{s.Next().Text}
	for s.Left() > 0 {
		texts = append(texts, s.Next().Text)
	}
	return strings.Join(texts, "\n")
}
