package deploytest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// composeProject reads docker-compose.yml as Compose v2 does, schema and all, with
// nothing set in the environment but profiles.
func composeProject(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(reference, "docker-compose.yml")},
		cli.WithName("smithers"), cli.WithWorkingDirectory(reference), cli.WithResolvedPaths(true), cli.WithProfiles(profiles))
	require.NoError(t, err)
	project, err := options.LoadProject(t.Context())
	require.NoError(t, err)
	return project
}

func TestCompose(t *testing.T) {
	project := composeProject(t)
	require.Len(t, project.Services, 1)
	gateway := project.Services["gateway"]

	t.Run("builds from this checkout", func(t *testing.T) {
		require.Equal(t, repository, gateway.Build.Context)
		require.FileExists(t, filepath.Join(repository, gateway.Build.Dockerfile))
		require.Contains(t, read(t, "Dockerfile"), " AS "+gateway.Build.Target+"\n")
		for name := range gateway.Build.Args {
			require.Regexp(t, `(?m)^ARG .*\b`+name+`\b`, read(t, "Dockerfile"))
		}
	})

	t.Run("publishes 80 and 443 and nothing else", func(t *testing.T) {
		var ports []string
		for _, p := range gateway.Ports {
			ports = append(ports, fmt.Sprintf("%s:%d/%s", p.Published, p.Target, p.Protocol))
		}
		require.Equal(t, []string{"80:80/tcp", "443:443/tcp", "443:443/udp"}, ports)
		require.EqualValues(t, []string{"7331"}, gateway.Expose)
	})

	t.Run("keeps its data on volumes", func(t *testing.T) {
		kinds := map[string]string{}
		for _, v := range gateway.Volumes {
			kinds[v.Target] = v.Type
			if v.Target == "/workspace" {
				require.True(t, v.ReadOnly)
				require.FileExists(t, filepath.Join(v.Source, "gateway.mjs"))
			}
		}
		require.Equal(t, map[string]string{"/data": "volume", "/data/caddy": "volume", "/workspace": "bind"}, kinds)
		for _, name := range []string{"SMITHERS_DB_PATH", "SMITHERS_TOKEN_STORE"} {
			require.True(t, strings.HasPrefix(*gateway.Environment[name], "/data/"), name)
		}
	})

	t.Run("can change nothing else", func(t *testing.T) {
		require.True(t, gateway.ReadOnly)
		require.Equal(t, []string{"ALL"}, gateway.CapDrop)
		require.Empty(t, gateway.CapAdd)
		require.False(t, gateway.Privileged)
		require.True(t, slices.Contains(gateway.SecurityOpt, "no-new-privileges:true"))
		require.Regexp(t, `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`, read(t, "Dockerfile"))
	})

	t.Run("has time to stop and files to open", func(t *testing.T) {
		require.GreaterOrEqual(t, time.Duration(*gateway.StopGracePeriod), shutdown(t, "Caddyfile")+reserve)
		require.Greater(t, gateway.Ulimits["nofile"].Single, 2*20_000)
	})
}

// The service with Bun is the other one, with what a second process needs.
func TestComposeProfileSmithers(t *testing.T) {
	project := composeProject(t, "smithers")
	require.Len(t, project.Services, 2)
	plain, bun := project.Services["gateway"], project.Services["smithers"]
	require.Equal(t, "smithers", bun.Build.Target)
	require.Contains(t, read(t, "Dockerfile"), " AS "+bun.Build.Target+"\n")
	require.NotEqual(t, plain.Image, bun.Image)
	require.True(t, *bun.Init)
	require.Equal(t, append(slices.Clone(plain.Tmpfs), "/tmp:size=256m,mode=1777"), bun.Tmpfs)
	require.Contains(t, bun.Networks["default"].Aliases, "gateway")

	bun.Name, bun.Profiles, bun.Image, bun.Init, bun.Tmpfs, bun.Networks = plain.Name, nil, plain.Image, nil, plain.Tmpfs, plain.Networks
	bun.Build.Target = plain.Build.Target
	bun.Extends = nil
	require.Equal(t, plain, bun, "all else is the same")
}
