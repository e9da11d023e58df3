package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// fence is one block between ``` lines.
type fence struct {
	file, marker, lang, text string
	line                     int
}

// document is a Markdown file: its prose, without fences, and its fences.
type document struct {
	path, prose string // path counts from the root, with slashes
	fences      []fence
}

var comment = regexp.MustCompile(`^<!-- (.+) -->$`)

// documents reads all Markdown of the repository.
func documents(t *testing.T) []document {
	var all []document
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "dist", "bin", "testdata"}, d.Name())) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		all = append(all, parse(filepath.ToSlash(rel), string(text)))
		return err
	}))
	require.Greater(t, len(all), 10)
	return all
}

func parse(path, text string) document {
	d := document{path: path}
	var open *fence
	last := ""
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open == nil && strings.HasPrefix(trimmed, "```"):
			open = &fence{file: path, line: n + 1, lang: strings.TrimPrefix(trimmed, "```")}
			if m := comment.FindStringSubmatch(last); m != nil {
				open.marker = m[1]
			}
		case open != nil && trimmed == "```":
			d.fences = append(d.fences, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			d.prose += line + "\n"
		}
		last = trimmed
	}
	if open != nil { // shown as a fence without a language, which no test accepts
		d.fences = append(d.fences, fence{file: path, line: open.line})
	}
	return d
}

func TestParse(t *testing.T) {
	d := parse("a.md", "# A\n<!-- runnable -->\n```sh\nls\n```\nb\n```js\n1\n")
	require.Equal(t, "# A\n<!-- runnable -->\nb\n", d.prose)
	require.Equal(t, []fence{{"a.md", "runnable", "sh", "ls\n", 3}, {file: "a.md", line: 7}}, d.fences)
}
