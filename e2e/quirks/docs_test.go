package quirks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every entry of docs/quirks.md names a test that is here, and every test is named.
func TestTheTableIsComplete(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "quirks.md"))
	require.NoError(t, err)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	there := map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`func (TestQ\d\d_\w+)\(`).FindAllSubmatch(source, -1) {
			there[string(m[1])] = true
		}
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| (Q\\d+) \\|.*\\| (?:`(\\w+)`|waiting|none) \\|$").FindAllSubmatch(text, -1) {
		rows[string(m[1])] = string(m[2])
	}
	for n := 1; n <= 50; n++ {
		test, listed := rows[fmt.Sprintf("Q%d", n)]
		require.True(t, listed, "Q%d", n)
		if test == "" {
			continue
		}
		require.Contains(t, test, fmt.Sprintf("TestQ%02d_", n))
		require.True(t, there[test], test)
		delete(there, test)
	}
	require.Len(t, rows, 50)
	require.Empty(t, there, "tests that the table does not name")
}
