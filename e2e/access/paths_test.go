package access

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

const outside = "the text of a file outside"

// TestPathsInIdsLeadNowhere puts ways out of a folder wherever a request carries a name.
func TestPathsInIdsLeadNowhere(t *testing.T) {
	s := newSite(t, "")
	s.Write("outside.txt", outside)
	for _, way := range []string{
		"../outside.txt", "..%2foutside.txt", "%2e%2e%2foutside.txt", "..%252foutside.txt", "....//outside.txt", "/etc/passwd", "%2fetc%2fpasswd",
		"..%5coutside.txt", `..\outside.txt`, "%00", "outside.txt%00.json", "file:///etc/passwd", "~root", "run/../../outside.txt", strings.Repeat("../", 20) + "etc/passwd",
	} {
		for _, route := range []string{
			"/v1/api/runs/%s", "/v1/api/runs/%s/events", "/v1/api/runs/%s/stream", "/v1/api/nodes/%s/x/output", "/v1/api/nodes/x/%s/output",
			"/v1/api/tickets/%s", "/v1/api/docs/%s", "/v1/api/prompts/%s", "/v1/api/workflows/%s", "/v1/api/memory/%s", "/%s", "/v1/rpc/%s", "/webhooks/%s",
		} {
			conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.Port))
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(rig.Patience)))
			target := fmt.Sprintf(route, strings.ReplaceAll(way, " ", "%20"))
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", target, s.Port, s.p.Token)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err, target)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err, target)
			require.NoError(t, conn.Close())
			require.NotContains(t, string(body), outside, target)
			require.NotContains(t, string(body), "root:", target)
			require.NotContains(t, string(body), s.Dir, "%s: no path of the server", target)
			require.Less(t, resp.StatusCode, 500, "%s: %s", target, body)
		}
		plain, err := url.PathUnescape(way)
		if err != nil {
			plain = way
		}
		for method, params := range map[string]map[string]any{
			"getRun": {"runId": plain}, "launchRun": {"workflow": "hooked", "runId": plain}, "getNodeOutput": {"runId": plain, "nodeId": plain, "iteration": 0},
			"renderPrompt": {"path": plain, "name": plain, "id": plain}, "createTicket": {"path": plain, "content": "x"}, "listDocs": {"kind": plain},
			"getPrompt": {"path": plain, "name": plain, "id": plain}, "cronCreate": {"workflow": plain, "pattern": "@daily"},
		} {
			err := s.p.Call(t.Context(), method, params, nil)
			if err != nil {
				require.NotContains(t, err.Error(), s.Dir, method)
				require.NotContains(t, err.Error(), "SERVER_ERROR", "%s %q", method, plain)
			}
		}
	}
	var files []string
	require.NoError(t, filepath.Walk(s.Dir, func(path string, _ os.FileInfo, err error) error {
		files = append(files, path)
		return err
	}))
	for _, f := range files {
		require.NotContains(t, f, "..", "nothing was written outside")
	}
	require.Empty(t, s.p.Errors())
}

// TestImportsStayInside: modules that import what lies outside of their root are
// refused, by whatever way they reach for it.
func TestImportsStayInside(t *testing.T) {
	s := rig.NewSite(t, module)
	s.Write("outside.js", "export default '"+outside+"';\n")
	s.Write("workspace/package.json", "{}\n")
	require.NoError(t, os.Symlink(s.Path("outside.js"), s.Path("workspace/link.js")))
	require.NoError(t, os.Symlink(s.Path("."), s.Path("workspace/folder")))
	for _, from := range []string{"../outside.js", "./../outside.js", s.Path("outside.js"), "./link.js", "./folder/outside.js", "file://" + s.Path("outside.js"), "https://example.com/x.js", "node:fs"} {
		file := s.Write("workspace/evil.mjs", fmt.Sprintf("import x from %q;\nexport function register(g) { g.register('w', async () => x); }\n", from))
		out, code := s.CLI("module", "check", file)
		require.NotZero(t, code, "%s: %s", from, out)
		require.NotContains(t, out, outside, from)
		file = s.Write("workspace/evil.mjs", fmt.Sprintf("export async function register(g) { const x = await import(%q); g.register('w', async () => x); }\n", from))
		out, code = s.CLI("module", "check", file)
		require.NotZero(t, code, "%s: %s", from, out)
		require.NotContains(t, out, outside, from)
	}
}

// TestHeadersThatProtectBrowsers are on every answer, also on errors.
func TestHeadersThatProtectBrowsers(t *testing.T) {
	s := newSite(t, "")
	for path, status := range map[string]int{"/": 200, "/health": 200, "/nowhere": 404, "/v1/api/runs": 200, "/v1/api/runs/nope": 404, "/openapi.json": 200,
		"/v1/auth/session?token=" + s.p.Token: 200} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.p.Base+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+s.p.Token)
		resp, err := s.p.HTTP.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, path)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			require.Equal(t, want, resp.Header.Get(name), "%s of %s", name, path)
		}
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'", path)
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
	}
}

// TestOnlyWhatIsNamed: exec and fetch reach what the config names and nothing else.
func TestOnlyWhatIsNamed(t *testing.T) {
	const tries = `
export function register(gateway) {
  gateway.register("tries", async (ctx) => ctx.task("t", async () => {
    const { program, url } = ctx.input;
    try {
      if (program) return { ok: (await exec(program, ["hello"])).stdout };
      return { ok: await (await fetch(url)).text() };
    } catch (e) { return { code: e.code, message: e.message }; }
  }));
}
`
	world := rig.NewLedger(t, t.TempDir(), func(rig.Entry) any { return "reached" })
	s := rig.NewSite(t, tries)
	file := s.Write("Caddyfile", s.Caddyfile("exec echo\nfetch_allow localhost:1 public", ""))
	p := s.Start("run", "--config", file).As(s.Issue(rig.AllScopes, "alice")).Accepts()
	try := func(id string, input map[string]any) string {
		p.LaunchRun("tries", id, input)
		p.Status(id, "finished")
		var run struct{ Output any }
		require.NoError(t, p.Call(t.Context(), "getRun", map[string]any{"runId": id}, &run))
		return fmt.Sprint(run.Output)
	}
	require.Contains(t, try("echo", map[string]any{"program": "echo"}), "hello")
	for i, program := range []string{"sh", "/bin/echo", "./echo", "echo ", "../../bin/echo", "ECHO"} {
		require.Contains(t, try(fmt.Sprintf("exec-%d", i), map[string]any{"program": program}), "EXEC_NOT_ALLOWED", program)
	}
	target := world.URL + "/?attempt=1&key=a/b/0"
	for i, url := range []string{target, strings.Replace(target, "127.0.0.1", "localhost", 1), "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://10.0.0.1/"} {
		require.Contains(t, try(fmt.Sprintf("fetch-%d", i), map[string]any{"url": url}), "FETCH_NOT_ALLOWED", url)
	}
	require.Empty(t, world.Entries())
}

// TestThrottlingBehindAnIngress: with the proxy named, its clients are told apart;
// without, they share one address, and those with valid tokens do not notice.
func TestThrottlingBehindAnIngress(t *testing.T) {
	for name, servers := range map[string]string{"named": "trusted_proxies static 127.0.0.1", "not named": ""} {
		t.Run(name, func(t *testing.T) {
			s := rig.NewSite(t, module)
			s.Env = append(s.Env, "HOOK_SECRET=x")
			good := s.Issue(rig.AllScopes, "alice")
			text := s.Caddyfile("max_auth_failures 5", "")
			if servers != "" {
				text = strings.Replace(text, "grace_period", "servers {\n"+servers+"\n}\n\tgrace_period", 1)
			}
			p := s.Start("run", "--config", s.Write("Caddyfile", text)).As(good).Accepts()
			ask := func(token, from string) int {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/v1/rpc/listRuns", strings.NewReader("{}"))
				require.NoError(t, err)
				req.Header.Set("Authorization", "Bearer "+token)
				req.Header.Set("X-Forwarded-For", from)
				resp, err := p.HTTP.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				if resp.StatusCode == http.StatusTooManyRequests {
					require.NotEmpty(t, resp.Header.Get("Retry-After"))
				}
				return resp.StatusCode
			}
			for range 5 {
				require.Equal(t, 401, ask("guess", "203.0.113.7"))
			}
			require.Equal(t, 429, ask("guess", "203.0.113.7"))
			require.Equal(t, 200, ask(good, "203.0.113.7"), "a valid token is never throttled")
			other := 401
			if servers == "" {
				other = 429 // all come from the proxy, as far as anybody can tell
			}
			require.Equal(t, other, ask("expired", "203.0.113.8"))
			require.Equal(t, 200, ask(good, "203.0.113.8"))
			_, err := p.Client.Dial(t.Context(), client.DialOptions{})
			require.NoError(t, err)
		})
	}
}
