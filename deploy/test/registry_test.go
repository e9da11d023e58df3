package deploytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

// testRegistry builds the image under a name and pushes it, to a registry in memory.
func testRegistry(t *testing.T, _ *composed) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	script := docs.Tested(t, "deploy/reference/README.md", "registry").Script()
	require.Contains(t, script, "registry.example.com")
	// With the build arguments of Compose, so that what it has built counts.
	const build = `set -euo pipefail
docker() {
	if [ "$1" = build ]; then shift; set -- build --build-arg VERSION= --build-arg OPTIONS= --build-arg GOPROXY="${GOPROXY:-}" "$@"; fi
	command docker "$@" 2>&1
}
`
	t.Cleanup(func() { _, _ = try("docker", "rmi", address+"/smithers-gateway:1.0.0") })
	shell(t, repository, build+strings.ReplaceAll(script, "registry.example.com", address))
	answer, err := http.Get(server.URL + "/v2/smithers-gateway/manifests/1.0.0")
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
}
