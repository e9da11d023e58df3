package deploytest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDockerfilePinsAGoThatCanBuildIt(t *testing.T) {
	pinned := pinned(t, "GO_VERSION")
	module, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	require.NoError(t, err)
	needed := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	require.True(t, strings.HasPrefix(pinned, string(needed[1])+"."), "the Dockerfile pins Go %s, go.mod wants %s", pinned, needed[1])
	require.NotContains(t, read(t, "Dockerfile"), "latest")
}

// The Bun of the image is the one that the modules of Smithers are tested with.
func TestDockerfilePinsTheTestedBun(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "examples", "smithers", "package.json"))
	require.NoError(t, err)
	var manifest struct{ Dependencies map[string]string }
	require.NoError(t, json.Unmarshal(text, &manifest))
	require.Equal(t, manifest.Dependencies["bun"], pinned(t, "BUN_VERSION"))
}

// What is built without --target is the image that holds nothing else.
func TestDockerfileEndsWithTheSlimTarget(t *testing.T) {
	stages := regexp.MustCompile(`(?m)^FROM .* AS (\S+)$`).FindAllStringSubmatch(read(t, "Dockerfile"), -1)
	require.NotEmpty(t, stages)
	require.Equal(t, "gateway", stages[len(stages)-1][1])
}

// pinned is the version that an ARG of the Dockerfile names.
func pinned(t *testing.T, arg string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ARG ` + arg + `=(\d+\.\d+\.\d+)$`).FindStringSubmatch(read(t, "Dockerfile"))
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
