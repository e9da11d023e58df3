package rpc

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// TestMethodsDocument keeps docs/methods.md in step with the catalogue and the code: a
// row for every method, its names, scope and transports, a status that is true and a
// test that exists.
func TestMethodsDocument(t *testing.T) {
	text, err := os.ReadFile("../../../docs/methods.md")
	require.NoError(t, err)
	names := func(cell string) (all []string) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		return all
	}
	f := newFixture(t)
	tests := testNames(t)
	all := wire.Methods()
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		require.Len(t, cells, 6, line)
		require.NotEmpty(t, all, "a row too many: %s", line)
		m := all[0]
		all = all[1:]
		require.Equal(t, []string{m.Name}, names(cells[0]))
		require.Equal(t, m.Legacy, names(cells[1]), m.Name)
		require.Equal(t, m.Scope, strings.Join(names(cells[2]), " "), m.Name)
		over := "HTTP, socket"
		if m.WSOnly {
			over = "socket"
		}
		require.Equal(t, over, strings.TrimSpace(cells[3]), m.Name)
		offered := f.handlers[m.Name] != nil || m.Name == wire.MethodConnect
		require.Equal(t, !offered, strings.TrimSpace(cells[4]) == "not yet", "status of %s", m.Name)
		test := names(cells[5])
		require.Len(t, test, 1, m.Name)
		require.True(t, slices.Contains(tests, test[0]), "%s: there is no %s", m.Name, test[0])
	}
	require.Empty(t, all, "methods without a row")
}

// testNames are the tests below gateway/.
func testNames(t *testing.T) (all []string) {
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			all = append(all, m[1])
		}
		return err
	}))
	return all
}
