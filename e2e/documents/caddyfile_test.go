package documents

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

const module = `
export function register(gateway) {
  gateway.register("secret", async () => ({ length: process.env.HOOK_SECRET?.length ?? 0 }));
}
`

// words is what a block that is a part of a site has within smithers { }.
func words(t *testing.T, block string) string {
	t.Helper()
	inner, ok := strings.CutPrefix(block, "smithers {\n")
	require.True(t, ok, block)
	inner, ok = strings.CutSuffix(inner, "}\n")
	require.True(t, ok, block)
	return strings.TrimSpace(inner)
}

// trusting lets the gateway trust the certificate of a server of the test.
func trusting(t *testing.T, s *rig.Site, server *httptest.Server) {
	t.Helper()
	s.Env = append(s.Env, "SSL_CERT_FILE="+s.Write("ca.pem", certificate(server)))
}

// TestReadmeSite serves the README's Caddyfile as it is: but for its folders, and a CA of
// Caddy's own in place of the one that would have to reach this machine.
func TestReadmeSite(t *testing.T) {
	block := docs.Tested(t, "README.md").Next().Text
	s := rig.NewSite(t, module)
	plain := rig.FreePort(t)
	options := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tlocal_certs\n\tskip_install_trust\n\thttp_port %d\n\thttps_port %d\n}\n", plain, s.Port)
	config := s.Write("Caddyfile", options+strings.NewReplacer("/var/lib/smithers", s.Dir, "/srv/workflows", s.Path("workspace")).Replace(block))
	s.Env = []string{"HOOK_SECRET=0123456789", "XDG_DATA_HOME=" + s.Path("data")}
	token := s.Issue(rig.AllScopes, "alice")
	p := s.Launch("run", "--config", config)
	root := s.Path("data/caddy/pki/authorities/local/root.crt")
	rig.Wait(t, "the root certificate", func() bool { _, err := os.Stat(root); return err == nil })
	text, err := os.ReadFile(root)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	p.Client = named("https://gateway.example.com", token, s.Port, roots)
	t.Cleanup(p.HTTP.CloseIdleConnections)
	p.Ready()
	p.Accepts()

	p.LaunchRun("secret", "first", nil)
	p.Status("first", "finished")
	for origin, want := range map[string]bool{"https://app.example.com": true, "https://elsewhere.example.com": false} {
		socket, err := p.Client.Dial(t.Context(), client.DialOptions{Header: http.Header{"Origin": {origin}}})
		require.Equal(t, want, err == nil, "%s: %v", origin, err)
		if err == nil {
			socket.Cut()
		}
	}
	var output map[string]any
	require.NoError(t, p.Call(t.Context(), "getRun", map[string]any{"runId": "first"}, &output))
	require.Contains(t, fmt.Sprint(output), "length:10", "env HOOK_SECRET")
}

// named is a client of a name that leads to a port of this machine.
func named(base, token string, port int, roots *x509.CertPool) *client.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}
	trust := &tls.Config{RootCAs: roots}
	return &client.Client{
		Base: base, Token: token, TLS: trust,
		HTTP:    &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: trust}},
		Connect: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "", "") },
	}
}

// TestReadmeJWT: callers with tokens of an issuer, which is a server of the test, are let in
// by the README's block, and others are not.
func TestReadmeJWT(t *testing.T) {
	block := docs.Tested(t, "README.md").Next().Text
	key, public := keyPair(t)
	issuer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/jwks.json" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}})
	}))
	t.Cleanup(issuer.Close)
	s := rig.NewSite(t, module)
	trusting(t, s, issuer)
	require.Contains(t, block, "https://id.example.com")
	config := s.Caddyfile(words(t, strings.ReplaceAll(block, "https://id.example.com", issuer.URL)), "")
	p := s.Start("run", "--config", s.Write("Caddyfile", config))

	claims := map[string]any{"iss": issuer.URL, "aud": "smithers", "sub": "ada", "scope": "run:read", "exp": time.Now().Add(time.Hour).Unix()}
	p.As(signed(t, key, claims)).Accepts()
	require.True(t, client.IsCode(p.As(signed(t, key, claims)).Call(t.Context(), "launchRun", map[string]any{"workflow": "secret"}, nil), "FORBIDDEN"))
	for name, wrong := range map[string]any{"iss": "https://id.example.com", "aud": "another", "exp": 1} {
		changed := map[string]any{}
		for k, v := range claims {
			changed[k] = v
		}
		changed[name] = wrong
		require.True(t, client.IsCode(p.As(signed(t, key, changed)).Call(t.Context(), "listRuns", nil, nil), "UNAUTHORIZED"), name)
	}
}

// TestUpstreamBlock: the block of docs/federation.md, with another gateway behind TLS as the
// upstream, which takes its token only.
func TestUpstreamBlock(t *testing.T) {
	block := docs.Tested(t, "docs/federation.md").Next().Text
	behind := rig.NewSite(t, module)
	inner := behind.Start()
	secret := behind.Issue(rig.AllScopes, "front")
	inner.As(secret).Accepts()
	target, err := url.Parse(inner.Base)
	require.NoError(t, err)
	edge := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(edge.Close)

	s := rig.NewSite(t, "export function register() {}\n")
	trusting(t, s, edge)
	s.Env = append(s.Env, "SMITHERS_UPSTREAM_TOKEN="+secret)
	require.Contains(t, block, "https://smithers.internal.example.com")
	config := s.Caddyfile(words(t, strings.Replace(block, "https://smithers.internal.example.com", edge.URL, 1)), "")
	p := s.Start("run", "--config", s.Write("Caddyfile", config)).As(s.Issue(rig.AllScopes, "alice")).Accepts()
	p.Wait("the upstream's workflow", func() bool {
		var flows []struct{ Key string }
		return p.Call(t.Context(), "listWorkflows", nil, &flows) == nil && len(flows) == 1 && flows[0].Key == "secret"
	})
	p.LaunchRun("secret", "far", nil)
	p.Status("far", "finished")
	_, err = inner.As(secret).Run(t.Context(), "far")
	require.NoError(t, err, "the upstream has executed it")
}
