package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDockerfilePinsAGoThatCanBuildIt(t *testing.T) {
	pinned := goVersion(t)
	module, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	require.NoError(t, err)
	needed := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	require.True(t, strings.HasPrefix(pinned, string(needed[1])+"."), "the Dockerfile pins Go %s, go.mod wants %s", pinned, needed[1])
	require.NotContains(t, read(t, "Dockerfile"), "latest")
}

func goVersion(t *testing.T) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ARG GO_VERSION=(\d+\.\d+\.\d+)$`).FindStringSubmatch(read(t, "Dockerfile"))
	require.NotNil(t, m)
	return m[1]
}

// The build sees what it compiles, and what it needs exists.
func TestDockerignoreLetsInNamedFoldersOnly(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(read(t, "Dockerfile.dockerignore")), "\n")
	require.Equal(t, "*", lines[1])
	for _, line := range lines {
		if path, let := strings.CutPrefix(line, "!"); let {
			require.NotContains(t, path, "*")
			_, err := os.Stat(filepath.Join(repository, path))
			require.NoError(t, err)
		}
	}
}
