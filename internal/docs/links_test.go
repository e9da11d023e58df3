package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)|(?m:^\[[^\]\n]+\]: (\S+)$)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	titled  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// links returns where a document leads inside the repository.
func links(d Document) []string {
	var found []string
	for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(d.Prose, ""), -1) {
		if to := m[1] + m[2]; !strings.Contains(to, "://") && !strings.HasPrefix(to, "mailto:") {
			found = append(found, to)
		}
	}
	return found
}

// anchors are the names that GitHub gives to the headings of a document.
func anchors(d Document) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(d.Prose, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, titled.ReplaceAllString(m[1], "$1"))
		for n, first := 1, name; names[name]; n++ {
			name = fmt.Sprintf("%s-%d", first, n)
		}
		names[name] = true
	}
	return names
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := documents(t)
	known := map[string]map[string]bool{}
	for _, d := range all {
		known[d.Path] = anchors(d)
	}
	checked := 0
	for _, d := range all {
		for _, to := range links(d) {
			checked++
			file, anchor, _ := strings.Cut(to, "#")
			target := d.Path
			if file != "" {
				target = path.Join(path.Dir(d.Path), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: nothing is at %s", d.Path, to)
			} else if anchor != "" && !known[target][anchor] {
				t.Errorf("%s: no heading for %s", d.Path, to)
			}
		}
	}
	require.Greater(t, checked, 50)
}

func TestAnchors(t *testing.T) {
	d := Parse("a.md", "# One `two`, three\n## Same\n## Same\n## [Linked](x.md)\n[a](b.md) `[c](d.md)` [e](https://example.com)\n[f]: g.md\n")
	require.Equal(t, map[string]bool{"one-two-three": true, "same": true, "same-1": true, "linked": true}, anchors(d))
	require.Equal(t, []string{"x.md", "b.md", "g.md"}, links(d))
}

// TestIndex: whoever looks for something finds it from docs/README.md.
func TestIndex(t *testing.T) {
	listed := map[string]bool{}
	all := documents(t)
	for _, d := range all {
		if d.Path == "docs/README.md" {
			for _, to := range links(d) {
				file, _, _ := strings.Cut(to, "#")
				listed[path.Join("docs", file)] = true
			}
		}
	}
	for _, d := range all {
		if d.Path != "docs/README.md" && !listed[d.Path] {
			t.Errorf("docs/README.md does not lead to %s", d.Path)
		}
	}
}
