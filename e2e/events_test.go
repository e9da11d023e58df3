package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// secure writes a config with the plain site and a TLS site on the same gateway, and
// returns it with the address of the latter and a pool that trusts it.
func (s *site) secure() (config, base string, roots *x509.CertPool) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	require.NoError(s.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.write("cert.pem", string(certPEM))
	s.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	roots = x509.NewCertPool()
	require.True(s.t, roots.AppendCertsFromPEM(certPEM))
	port := rig.FreePort(s.t)
	block := fmt.Sprintf("smithers {\n\t\tdb_path %s\n\t\ttoken_store %s\n\t\tmodule %s\n\t}", s.path("smithers.db"), s.path("tokens.json"), s.module)
	config = s.write("Caddyfile", fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 10s
}
http://127.0.0.1:%d {
	%s
}
https://127.0.0.1:%d {
	tls %s %s
	%s
}
`, s.path("admin.sock"), s.port, block, port, s.path("cert.pem"), s.path("key.pem"), block))
	return config, "https://127.0.0.1:" + strconv.Itoa(port), roots
}

// protocols are clients that speak one version of HTTP each.
func protocols(t *testing.T, roots *x509.CertPool) map[string]http.RoundTripper {
	settings := func() *tls.Config { return &tls.Config{RootCAs: roots} }
	h1 := &http.Transport{TLSClientConfig: settings(), TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	h2 := &http.Transport{TLSClientConfig: settings(), ForceAttemptHTTP2: true}
	h3 := &http3.Transport{TLSClientConfig: settings()}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	return map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2.0": h2, "HTTP/3.0": h3}
}

// stream is an open event stream.
type stream struct {
	t    *testing.T
	res  *http.Response
	in   *bufio.Reader
	last string // id
}

func openStream(t *testing.T, c http.RoundTripper, url, token, last string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := c.RoundTrip(req)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return &stream{t: t, res: res, in: bufio.NewReader(res.Body)}
}

// until reads events up to one of a name and returns the names of all that are
// events of the run.
func (s *stream) until(name string) (seen []string) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		require.NoError(s.t, err, "%v", seen)
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			s.last = value
		case "data":
			var d struct{ Event string }
			require.NoError(s.t, json.Unmarshal([]byte(value), &d))
			if d.Event == "" {
				continue
			}
			if seen = append(seen, s.last+" "+d.Event); d.Event == name {
				return seen
			}
		}
	}
}

func (s *stream) end() {
	s.t.Helper()
	rest, err := io.ReadAll(s.in)
	require.NoError(s.t, err)
	require.Empty(s.t, strings.TrimSpace(string(rest)))
}

// A live run, a cut and a resume, over every version of HTTP.
func TestEventStreamOverEveryProtocol(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	config, base, roots := s.secure()
	token := s.issue(allScopes)
	p := s.start("run", "--config", config).as(token)
	for version, c := range protocols(t, roots) {
		t.Run(version, func(t *testing.T) {
			id := p.launchRun("gated", map[string]any{"url": w.URL})
			url := base + "/v1/api/runs/" + id + "/stream"
			one := openStream(t, c, url+"?afterSeq=0", token, "")
			require.Equal(t, 200, one.res.StatusCode)
			require.Equal(t, version, one.res.Proto)
			require.Equal(t, "text/event-stream; charset=utf-8", one.res.Header.Get("Content-Type"))
			require.Equal(t, []string{"1 node.pending", "2 node.started", "3 node.finished", "4 approval.requested", "5 node.waiting_approval"},
				one.until("node.waiting_approval"))
			one.res.Body.Close() // the cut
			require.NoError(t, p.decide(id, "gate", true))
			p.status(id, "finished")

			two := openStream(t, c, url+"?afterSeq=0", token, one.last)
			seen := two.until("run.completed")
			require.Equal(t, "6 approval.decided", seen[0], "each once, none missed")
			two.end()
			require.Equal(t, http.StatusNoContent, openStream(t, c, url+"?afterSeq=0", token, two.last).res.StatusCode)
			refused := openStream(t, c, url, "guess", "")
			require.Equal(t, 401, refused.res.StatusCode)
		})
	}
}

// Open event streams do not hold up the end of the process, and their clients are
// told when to come back; a reload leaves them alone.
func TestEventStreamsThroughReloadAndExit(t *testing.T) {
	s, w := newSite(t), newWorld(t)
	config, base, roots := s.secure()
	token := s.issue(allScopes)
	p := s.start("run", "--config", config).as(token)
	id := p.launchRun("gated", map[string]any{"url": w.URL})
	p.status(id, "waiting-approval")
	open := map[string]*stream{}
	for version, c := range protocols(t, roots) {
		open[version] = openStream(t, c, base+"/v1/api/runs/"+id+"/stream?afterSeq=0", token, "")
		open[version].until("node.waiting_approval")
	}
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	s.write("Caddyfile", strings.ReplaceAll(string(text), "smithers {", "smithers {\n\t\theartbeat 9s")) // or nothing is loaded
	out, code := s.reload(config)
	require.Zero(t, code, out)
	w.hold("after")
	require.NoError(t, p.decide(id, "gate", true))
	w.arrived(t, "after", 1)
	for version, one := range open {
		require.Contains(t, one.until("node.started"), "6 approval.decided", version)
	}
	told := make(chan string, len(open))
	for version, one := range open {
		go func() { // an HTTP/3 connection is over only when its client has read all
			rest, err := io.ReadAll(one.in)
			told <- fmt.Sprintf("%s %v %v", version, err, strings.Contains(string(rest), "\nretry: "))
		}()
	}
	took := p.terminate()
	rig.Prompt(t, "the stop", took, 8*time.Second) // the grace period is 10 s
	require.Zero(t, p.cmd.ProcessState.ExitCode(), p.log.String())
	for range open {
		require.Contains(t, <-told, "<nil> true")
	}
}
