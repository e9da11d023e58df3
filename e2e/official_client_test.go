package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evanw/esbuild/pkg/api"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

// Versions of what comes from the npm registry.
const (
	officialClient = "@smithers-orchestrator/gateway-client@0.32.0"
	nodeWebSocket  = "ws@8.23.0" // Node before 22 has no WebSocket of its own
	registryTime   = 2 * time.Minute
)

// The README's program for the official client is run against the binary.
func TestOfficialClient(t *testing.T) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			absent(t, tool)
		}
	}
	program := docs.Tested(t, "README.md").Next().Text

	dir := t.TempDir()
	// The package declares far more than its client needs, so it is unpacked, not
	// installed.
	npm(t, dir, "pack", officialClient)
	tarballs, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	require.NoError(t, err)
	require.Len(t, tarballs, 1)
	npm(t, dir, "install", "--no-save", "--no-package-lock", nodeWebSocket)
	out, err := exec.CommandContext(t.Context(), "tar", "-xzf", tarballs[0], "-C", dir).CombinedOutput()
	require.NoError(t, err, string(out))

	s := newSite(t)
	s.module = s.write("gateway.mjs", firstModule(t))
	token := s.issue("*")
	p := s.start().as(token)
	p.wait("the token to count", func() bool { return p.Call(t.Context(), "listRuns", nil, nil) == nil })

	source := strings.Replace(program, "http://127.0.0.1:7331", p.Base, 1)
	built := api.Build(api.BuildOptions{
		Stdin:  &api.StdinOptions{Contents: source, ResolveDir: dir, Loader: api.LoaderTS},
		Bundle: true, AbsWorkingDir: dir,
		Platform: api.PlatformNode, Format: api.FormatESModule, External: []string{"ws"},
		Alias:  map[string]string{"@smithers-orchestrator/gateway-client": filepath.Join(dir, "package", "src", "SmithersGatewayClient.ts")},
		Banner: map[string]string{"js": `import WS from "ws"; globalThis.WebSocket ??= WS;`},
	})
	require.Empty(t, built.Errors)
	main := filepath.Join(dir, "main.mjs")
	require.NoError(t, os.WriteFile(main, built.OutputFiles[0].Contents, 0o644))

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", main)
	cmd.Env = append(os.Environ(), "TOKEN="+token)
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"1 node.pending", "approval.requested", "approval.decided", "run.completed"} {
		require.Contains(t, string(out), want)
	}
}

// absent ends a test whose tool is missing: a skip for people, a failure in CI.
func absent(t *testing.T, tool string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", tool)
	}
	t.Skipf("%s is missing", tool)
}

func npm(t *testing.T, dir string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), registryTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", append(args, "--silent", "--no-audit", "--no-fund")...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("npm %s: %v\n%s", args[0], err, out.String())
		}
		t.Skipf("npm %s: %v", args[0], err)
	}
}
