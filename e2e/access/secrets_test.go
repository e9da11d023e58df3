package access

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const hookSecret = "hook-secret-1f7c2d9a55e0"

const module = `
export function register(gateway) {
  gateway.register("hooked", async (ctx) => ctx.task("t", () => ({ ok: true })), { webhook: { secret: process.env.HOOK_SECRET } });
  gateway.register("fails", async (ctx) => ctx.task("t", async () => { await fetch("http://127.0.0.1:1/"); }));
}
`

// config logs everything, debug lines included, with the filter of the shipped files.
const config = `(tokens_redacted) {
	format filter {
		wrap json
		request>headers>X-Smithers-Key replace REDACTED
		request>headers>Referer regexp "token=[^&]*" "token=REDACTED"
		request>uri query {
			replace token REDACTED
		}
	}
}
{
	debug
	admin unix/%[1]s
	persist_config off
	grace_period 5s
	log {
		import tokens_redacted
		level DEBUG
	}
}
http://127.0.0.1:%[2]d {
	log {
		import tokens_redacted
		level DEBUG
	}
	smithers {
		db_path %[3]s
		token_store %[4]s
		module %[5]s
		env HOOK_SECRET
		public_metrics on
		%[6]s
	}
}
`

type site struct {
	*rig.Site
	p       *rig.Process
	secrets map[string]string // by what they are
}

func newSite(t *testing.T, extra string) *site {
	t.Helper()
	s := &site{Site: rig.NewSite(t, module), secrets: map[string]string{"webhook secret": hookSecret}}
	s.Env = append(s.Env, "HOOK_SECRET="+hookSecret)
	s.secrets["admin token"] = s.Issue("*", "root")
	s.secrets["reader token"] = s.Issue("run:read", "bob")
	s.secrets["revoked token"] = s.Issue("run:read", "carol")
	s.secrets["guessed token"] = "smithers_guess-0123456789abcdef"
	file := s.Write("Caddyfile", fmt.Sprintf(config, s.AdminSocket(), s.Port, s.DB, s.Path("tokens.json"), s.Module, extra))
	s.p = s.Start("run", "--config", file).As(s.secrets["admin token"]).Accepts()
	return s
}

// collect is everything that the binary said or wrote, by where.
type collect map[string][]byte

// TestNoSecretIsWrittenAnywhere uses every secret in every way there is, in good and in
// bad requests, and then looks through all that the process has said and written.
func TestNoSecretIsWrittenAnywhere(t *testing.T) {
	s := newSite(t, "max_auth_failures 1000000")
	said := collect{}
	for name, secret := range s.secrets {
		s.use(said, name, secret)
	}
	s.hook(said)
	s.commands(said)
	s.p.LaunchRun("fails", "fails", map[string]any{})
	s.p.Status("fails", "failed")

	for _, path := range []string{"/health", "/metrics", "/workflows", "/openapi.json", "/v1/api/runs", "/v1/api/events", "/v1/api/workflows"} {
		_, body, err := s.p.Get(t.Context(), path)
		require.NoError(t, err)
		said["GET "+path] = body
	}
	for _, path := range []string{"/config/", "/smithers/gateways", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		answer, err := s.p.Admin(http.MethodGet, path, "")
		require.NoError(t, err)
		said["admin "+path] = []byte(answer)
	}
	var audit, run json.RawMessage
	require.NoError(t, s.p.Call(t.Context(), "audit.list", map[string]any{"filter": map[string]any{"limit": 1000}}, &audit))
	require.NoError(t, s.p.Call(t.Context(), "getRun", map[string]any{"runId": "fails"}, &run))
	said["audit"], said["run"] = audit, run

	pid := strconv.Itoa(s.p.Cmd.Process.Pid)
	cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
	require.NoError(t, err)
	said["process list"] = cmdline
	// The environment is where operators put the webhook's secret; tokens never get there.
	environ, err := os.ReadFile("/proc/" + pid + "/environ")
	require.NoError(t, err)
	said["environment"] = bytes.ReplaceAll(environ, []byte("HOOK_SECRET="+hookSecret), nil)

	s.p.Terminate()
	said["log"] = []byte(s.p.Log.String())
	require.Contains(t, string(said["log"]), `"level":"debug"`)
	require.Contains(t, string(said["log"]), `"logger":"http.log.access`)
	require.NoError(t, filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		said["file "+path] = data
		return err
	}))
	require.NotEmpty(t, said["file "+s.DB])

	for where, text := range said {
		for name, secret := range s.secrets {
			for form, looks := range forms(secret) {
				if bytes.Contains(text, []byte(looks)) {
					i := bytes.Index(text, []byte(looks))
					t.Errorf("%s (%s) is in %s: …%q…", name, form, where, text[max(0, i-200):min(len(text), i+20)])
				}
			}
		}
	}
	t.Logf("%d secrets in %d forms looked for in %d places", len(s.secrets), len(forms("x")), len(said))
}

// forms are the ways in which a secret could be written.
func forms(secret string) map[string]string {
	return map[string]string{
		"plain": secret, "URL": url.QueryEscape(secret), "base64": base64.StdEncoding.EncodeToString([]byte(secret)),
		"hex": hex.EncodeToString([]byte(secret)), "half": secret[:max(1, len(secret)*2/3)],
	}
}

// use presents a token in all ways.
func (s *site) use(said collect, name, secret string) {
	s.T.Helper()
	ask := func(what, method, path, body string, dress func(*http.Request)) {
		req, err := http.NewRequestWithContext(s.T.Context(), method, s.p.Base+path, strings.NewReader(body))
		require.NoError(s.T, err)
		dress(req)
		resp, err := s.p.HTTP.Transport.RoundTrip(req)
		require.NoError(s.T, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(s.T, err)
		head := resp.Header.Clone()
		if path == "/v1/auth/session" || strings.HasPrefix(path, "/v1/auth/session?") {
			head.Del("Set-Cookie") // the one place where a client is given its own token back
		}
		said[what+" with "+name] = append(answer, []byte(fmt.Sprint(head))...)
	}
	dresses := map[string]func(*http.Request){
		"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) },
		"bare":   func(r *http.Request) { r.Header.Set("Authorization", secret) },
		"key":    func(r *http.Request) { r.Header.Set("X-Smithers-Key", secret) },
		"cookie": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "smithers_session_" + strconv.Itoa(s.Port), Value: secret})
		},
		"referer": func(r *http.Request) { r.Header.Set("Referer", "http://x/v1/auth/session?token="+secret) },
	}
	for kind, dress := range dresses {
		ask(kind+" RPC", http.MethodPost, "/v1/rpc/listRuns", "{}", dress)
		ask(kind+" malformed RPC", http.MethodPost, "/v1/rpc/listRuns", "{", dress)
		ask(kind+" forbidden RPC", http.MethodPost, "/v1/rpc/runs.move", "{}", dress)
		ask(kind+" REST", http.MethodGet, "/v1/api/runs/nope", "", dress)
		ask(kind+" stream", http.MethodGet, "/v1/api/runs/nope/stream", "", dress)
		ask(kind+" nothing", http.MethodGet, "/nowhere", "", dress)
		ask(kind+" pty", http.MethodGet, "/v1/pty/hijack", "", func(r *http.Request) {
			dress(r)
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", "websocket")
		})
	}
	ask("session", http.MethodGet, "/v1/auth/session?token="+url.QueryEscape(secret)+"&next=/x", "", func(*http.Request) {})
	as := *s.p.Client
	as.Token = secret
	socket, err := as.Dial(s.T.Context(), client.DialOptions{})
	if err != nil {
		said["socket of "+name] = []byte(err.Error())
		return
	}
	said["socket of "+name] = []byte(fmt.Sprint(socket.Hello))
	err = socket.Call(s.T.Context(), "connect", map[string]any{"minProtocol": 9, "maxProtocol": 9, "auth": map[string]string{"token": secret}}, nil)
	said["socket error of "+name] = []byte(fmt.Sprint(err))
	socket.Cut()
}

// hook sends deliveries with good and bad signatures.
func (s *site) hook(said collect) {
	s.T.Helper()
	body := `{"a":1}`
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(body))
	for what, signature := range map[string]string{"good": "sha256=" + hex.EncodeToString(mac.Sum(nil)), "bad": "sha256=00", "silly": hookSecret} {
		req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.p.Base+"/webhooks/hooked", strings.NewReader(body))
		require.NoError(s.T, err)
		if what != "silly" { // a sender that sends its secret has given it away itself
			req.Header.Set("X-Hub-Signature-256", signature)
		}
		resp, err := s.p.HTTP.Do(req)
		require.NoError(s.T, err)
		answer, err := io.ReadAll(resp.Body)
		require.NoError(s.T, err)
		require.NoError(s.T, resp.Body.Close())
		said["webhook "+what] = answer
	}
}

// commands runs those that deal with tokens.
func (s *site) commands(said collect) {
	s.T.Helper()
	for _, args := range [][]string{{"token", "list"}, {"token", "list", "--format", "json"}, {"token", "revoke", s.secrets["revoked token"]},
		{"token", "check", s.secrets["reader token"]}, {"token", "check", s.secrets["guessed token"]}, {"token", "check", s.secrets["revoked token"]}} {
		out, _ := s.CLI(args...)
		said["smithers-gateway "+strings.Join(args[:2], " ")] = append(said["smithers-gateway "+strings.Join(args[:2], " ")], out...)
	}
	s.p.Wait("the revoked token to be refused", func() bool {
		return s.p.As(s.secrets["revoked token"]).Call(s.T.Context(), "listRuns", nil, nil) != nil
	})
}
