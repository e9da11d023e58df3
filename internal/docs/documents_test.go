package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// documents reads all Markdown of the repository.
func documents(t *testing.T) []Document {
	var all []Document
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
		all = append(all, Parse(filepath.ToSlash(rel), string(text)))
		return err
	}))
	require.Greater(t, len(all), 10)
	return all
}

func TestParse(t *testing.T) {
	d := Parse("a.md", "# A\n<!-- tested: x -->\n```sh\nls\n```\nb\n\n    indented\n\n- item\n\n      of an item\n```js\n1\n")
	require.Equal(t, "# A\n<!-- tested: x -->\nb\n\n    indented\n\n- item\n\n      of an item\n", d.Prose)
	require.Equal(t, []Block{{"a.md", 3, "tested: x", "sh", "ls\n"}, {File: "a.md", Line: 13}}, d.Blocks)
	require.Equal(t, []int{8, 12}, d.Indented)
}

func TestParseMark(t *testing.T) {
	for text, want := range map[string]Mark{
		"tested: e2e TestA":                        {Folder: "e2e", Test: "TestA"},
		"tested: deploy/test TestA edge":           {Folder: "deploy/test", Test: "TestA", Part: "edge"},
		"checked: e2e TestA; needs a cluster":      {Folder: "e2e", Test: "TestA", Needs: "a cluster"},
		"checked: e2e TestA apply; needs a socket": {Folder: "e2e", Test: "TestA", Part: "apply", Needs: "a socket"},
	} {
		got, err := ParseMark(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "tested: e2e", "tested: TestA", "needs: luck", "tested: e2e TestA; needs luck", "checked: e2e TestA", "checked: e2e TestA; needs "} {
		_, err := ParseMark(text)
		require.Error(t, err, text)
	}
}
