package release

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

type workflowFile struct {
	On          map[string]any    `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		RunsOn  string `yaml:"runs-on"`
		Needs   string `yaml:"needs"`
		Timeout int    `yaml:"timeout-minutes"`
		Steps   []struct {
			Uses string         `yaml:"uses"`
			Run  string         `yaml:"run"`
			With map[string]any `yaml:"with"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

var (
	pinnedAction = regexp.MustCompile(`^actions/[a-z-]+@[0-9a-f]{40}$`)
	namedAction  = regexp.MustCompile(`uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n`)
)

// Each workflow of GitHub Actions runs what anybody can run, by actions, images and a Go
// that do not move under it.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../../.github/workflows/*")
	require.NoError(t, err)
	commands := map[string]string{} // file/job to all it runs
	parsed := map[string]workflowFile{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var w workflowFile
		require.NoError(t, yaml.Unmarshal(text, &w), path)
		require.NotEmpty(t, w.On, path)
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, path)
		require.NotEmpty(t, w.Jobs, path)
		uses := 0
		for name, job := range w.Jobs {
			require.Regexp(t, `^ubuntu-\d\d\.04$`, job.RunsOn, name)
			require.Positive(t, job.Timeout, name)
			for _, s := range job.Steps {
				commands[filepath.Base(path)+"/"+name] += s.Run + "\n"
				if s.Uses == "" {
					continue
				}
				uses++
				require.Regexp(t, pinnedAction, s.Uses)
				if strings.HasPrefix(s.Uses, "actions/setup-go@") {
					require.Regexp(t, `^\d+\.\d+\.\d+$`, s.With["go-version"], "an exact Go")
				}
			}
		}
		require.Len(t, namedAction.FindAll(text, -1), uses, "%s: say which version a commit is", path)
		parsed[filepath.Base(path)] = w
	}
	require.Contains(t, commands["ci.yml/ci"], " .ci/run\n")
	require.Contains(t, parsed["ci.yml"].On, "pull_request")
	require.Contains(t, commands["release.yml/ci"], " .ci/run\n")
	require.Contains(t, commands["release.yml/release"], ".ci/release --version ")
	require.Contains(t, commands["release.yml/release"], "gh release create ")
	require.Equal(t, "ci", parsed["release.yml"].Jobs["release"].Needs, "no release without its tests")
	require.Len(t, parsed["release.yml"].On, 1)
	require.Contains(t, parsed["release.yml"].On["push"], "tags")
}
