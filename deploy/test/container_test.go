package deploytest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// composed is the system that docker-compose.yml describes, running.
type composed struct {
	project   string
	service   string
	tool      string   // folder with the docker command of the guide
	env       []string // further settings
	https     int      // port of this machine
	container string
	root      string // certificate of the internal CA
}

func (c *composed) sh(t *testing.T, script string) string {
	t.Helper()
	return c.guide(t, script, "COMPOSE_FILE=deploy/reference/docker-compose.yml")
}

// guide runs commands of the guide, which names the file itself.
func (c *composed) guide(t *testing.T, script string, env ...string) string {
	t.Helper()
	env = append(env, "PATH="+c.tool+":"+os.Getenv("PATH"), "COMPOSE_PROJECT_NAME="+c.project)
	return shell(t, repository, "set -euo pipefail\n"+script, append(env, c.env...)...)
}

func (c *composed) compose(t *testing.T, args string) string {
	t.Helper()
	return c.sh(t, "docker compose "+args)
}

// try runs the gateway's program inside the container.
func (c *composed) try(args ...string) (string, error) {
	return try("docker", append([]string{"exec", c.container, "smithers-gateway"}, args...)...)
}

func (c *composed) refresh(t *testing.T) {
	t.Helper()
	c.container = strings.TrimSpace(c.compose(t, "ps -q "+c.service))
}

func (c *composed) as(t *testing.T, token string) *client.Client {
	t.Helper()
	return remote(t, fmt.Sprintf("https://localhost:%d", c.https), token, c.root)
}

func (c *composed) issue(t *testing.T, scopes string) string {
	t.Helper()
	out := c.compose(t, "exec -T "+c.service+" smithers-gateway token issue --scopes "+scopes+" --user-id alice --ttl 12h 2>/dev/null")
	return strings.TrimSpace(out)
}

// rootCertificate copies the internal CA's certificate out of a container.
func rootCertificate(t *testing.T, container, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "root.crt")
	waitFor(t, "the root certificate", func() bool {
		_, err := try("docker", "cp", container+":"+path, to)
		return err == nil
	})
	text, err := os.ReadFile(to)
	require.NoError(t, err)
	return string(text)
}

// TestContainer builds the image with the real Dockerfile, starts the composed system
// and does to it what the guide and real life do.
func TestContainer(t *testing.T) {
	engine(t)
	c := &composed{project: "smithers-test", service: "gateway", https: 443, tool: composeTool(t, "gateway")}
	t.Cleanup(func() { c.compose(t, "down --volumes --timeout 60 2>&1") })

	begin := time.Now()
	c.compose(t, "build 2>&1")
	t.Logf("MEASURED image: built in %s, %s", time.Since(begin).Round(time.Second), megabytes(t, "smithers-gateway:local"))

	begin = time.Now()
	c.compose(t, "up --detach 2>&1")
	c.refresh(t)
	c.root = rootCertificate(t, c.container, "/data/caddy/pki/authorities/local/root.crt")
	waitFor(t, "the gateway", func() bool { return ready(c.as(t, "")) })
	t.Logf("up in %s, all of Compose included", time.Since(begin).Round(time.Millisecond))

	for _, test := range []struct {
		name string
		run  func(*testing.T, *composed)
	}{
		{"without a token store it starts and denies", testDenies},
		{"the guide", testGuide},
		{"a token works at once", testTokenAtOnce},
		{"outside: TLS, redirect, nothing public", testOutside},
		{"a stream cut and resumed over TLS", testCutAndResumed},
		{"killed and started again: nothing lost", testKilled},
		{"recreated: data and certificates stay", testRecreated},
		{"read-only root, unprivileged", testReadOnly},
		{"the healthcheck", testHealthcheck},
		{"stop drains", testStopDrains},
		{"no secret in the logs", testLogs},
		{"nothing but the gateway in the image", testImage},
		{"start and memory", testMeasures},
		{"built and given to a registry", testRegistry},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, c) }) {
			t.Logf("the container's last words:\n%s", tail(docker(t, "logs", "--tail", "40", c.container)))
		}
	}
}

func tail(s string) string {
	if len(s) > 6000 {
		return s[len(s)-6000:]
	}
	return s
}

func megabytes(t *testing.T, image string) string {
	t.Helper()
	var size float64
	_, err := fmt.Sscan(docker(t, "image", "inspect", "--format", "{{.Size}}", image), &size)
	require.NoError(t, err)
	return fmt.Sprintf("%.1f MB", size/1e6)
}

func testDenies(t *testing.T, c *composed) {
	for _, token := range []string{"", "smithers_guess"} {
		denied(t, c.as(t, token))
		_, err := c.as(t, token).Dial(t.Context(), client.DialOptions{})
		require.True(t, client.IsCode(err, "UNAUTHORIZED"), "%v", err)
	}
	_, body, err := c.as(t, "").Get(t.Context(), "/health")
	require.NoError(t, err)
	require.Contains(t, string(body), `"tokenStore":"missing"`)
}

// The guide's own commands, in its order and in one shell.
func testGuide(t *testing.T, c *composed) {
	for _, left := range []string{"smithers-root.crt", "backup.db"} { // by the guide, where it is run
		file := filepath.Join(repository, left)
		require.NoFileExists(t, file)
		t.Cleanup(func() { _ = os.Remove(file) })
	}
	commands := docs.Tested(t, "deploy/reference/README.md").Script()
	require.True(t, strings.HasPrefix(commands, docs.Tested(t, "README.md", "readme").Script()), "the README begins as the guide does")
	out := c.guide(t, commands)
	for _, want := range []string{`"runId":"first"`, `"status":"finished"`, "copied /data/smithers.db", "restored /data/smithers.db"} {
		require.Contains(t, out, want)
	}
	c.refresh(t)
	c.root = rootCertificate(t, c.container, "/data/caddy/pki/authorities/local/root.crt")
	waitFor(t, "the restored gateway", func() bool { return ready(c.as(t, "")) })
}

func testTokenAtOnce(t *testing.T, c *composed) {
	token := c.issue(t, "run:read")
	waitFor(t, "the new token", func() bool { return answers(c.as(t, token)) })
	err := c.as(t, token).Call(t.Context(), "launchRun", map[string]any{"workflow": "release"}, nil)
	require.True(t, client.IsCode(err, "FORBIDDEN"), "%v", err)

	_, err = c.try("token", "revoke", token)
	require.NoError(t, err)
	waitFor(t, "the end of the token", func() bool { return !answers(c.as(t, token)) })
}

const operator = "run:read,run:write,approval:submit"

func testOutside(t *testing.T, c *composed) {
	plain := remote(t, "http://localhost", "", "")
	plain.HTTP.CheckRedirect = nil
	_, _, err := plain.Get(t.Context(), "/health")
	require.ErrorContains(t, err, "https://localhost/health", "sent on to TLS, whose CA this client does not know")
	for _, path := range []string{"/metrics", "/workflows"} {
		status, _, err := c.as(t, "").Get(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, 401, status, path)
	}
	_, err = try("curl", "-sS", "--max-time", "2", "http://127.0.0.1:7331/health")
	require.Error(t, err, "7331 is not published")

	address := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.container)
	inside := remote(t, "http://"+address+":7331", "", "")
	status, body, err := inside.Get(t.Context(), "/metrics")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Contains(t, string(body), "smithers_")
}

func testCutAndResumed(t *testing.T, c *composed) {
	q := c.as(t, c.issue(t, operator))
	waitFor(t, "the new token", func() bool { return answers(q) })
	launch(t, q, "cut", 5)
	first, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	events := follow(t, first, "cut", nil, func(e []*client.RunEvent) bool { return len(e) == 6 })
	first.Cut()

	second, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer second.Cut()
	events = follow(t, second, "cut", events, completed)
	require.Equal(t, 5, count(events, "node.finished", "roll-out"))
}

func testKilled(t *testing.T, c *composed) {
	token := c.issue(t, operator)
	q := c.as(t, token)
	waitFor(t, "the new token", func() bool { return answers(q) })
	before := map[string][]*client.RunEvent{}
	for _, id := range []string{"killed-1", "killed-2", "killed-3"} {
		launch(t, q, id, 12)
		socket, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer socket.Cut()
		before[id] = follow(t, socket, id, nil, func(e []*client.RunEvent) bool { return len(e) >= 8 })
	}
	docker(t, "kill", "--signal", "KILL", c.container)
	docker(t, "start", c.container)
	waitFor(t, "the gateway", func() bool { return ready(q) })
	require.True(t, answers(q), "the token is still good")
	for id, events := range before {
		socket, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer socket.Cut()
		events = follow(t, socket, id, events, completed)
		require.Equal(t, 12, count(events, "node.finished", "roll-out"), "no finished task runs twice, none is left out")
		run, err := q.Run(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, "finished", run.Status)
	}
}

func testRecreated(t *testing.T, c *composed) {
	token := c.issue(t, operator)
	c.compose(t, "down --timeout 60 2>&1")
	c.compose(t, "up --detach 2>&1")
	old := c.container
	c.refresh(t)
	require.NotEqual(t, old, c.container)
	q := c.as(t, token) // believes the certificate from before
	waitFor(t, "the gateway", func() bool { return ready(q) })
	run, err := q.Run(t.Context(), "killed-1")
	require.NoError(t, err)
	require.Equal(t, "finished", run.Status)
}

func testReadOnly(t *testing.T, c *composed) {
	require.Equal(t, "true 10001:10001 [ALL]", docker(t, "inspect", "--format", "{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}}", c.container))
	out, err := c.try("backup", "/backup.db")
	require.Error(t, err, "the root file system can be written to")
	require.Contains(t, out, "read-only")
	out, err = c.try("backup", "/data/again.db")
	require.NoError(t, err, out)
	require.Contains(t, out, "copied")
}

func testHealthcheck(t *testing.T, c *composed) {
	waitFor(t, "the healthcheck", func() bool {
		return docker(t, "inspect", "--format", "{{.State.Health.Status}}", c.container) == "healthy"
	})
	out, err := c.try("health", "--address", "127.0.0.1:1")
	var status *exec.ExitError
	require.True(t, errors.As(err, &status), out)
	require.Equal(t, 1, status.ExitCode())
}

func testStopDrains(t *testing.T, c *composed) {
	q := c.as(t, c.issue(t, operator))
	waitFor(t, "the new token", func() bool { return answers(q) })
	launch(t, q, "drained", 20)
	socket, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	events := follow(t, socket, "drained", nil, func(e []*client.RunEvent) bool { return len(e) >= 8 })

	begin := time.Now()
	c.compose(t, "stop 2>&1")
	took := time.Since(begin)
	t.Logf("MEASURED stop with an open stream and a run at work: %s", took.Round(10*time.Millisecond))
	<-socket.Done()
	require.Contains(t, []int{1001, 1012}, socket.CloseCode(), "a code that makes clients come back: %v", socket.Err())
	require.Equal(t, "0", docker(t, "inspect", "--format", "{{.State.ExitCode}}", c.container))

	c.compose(t, "start 2>&1")
	waitFor(t, "the gateway", func() bool { return ready(q) })
	again, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer again.Cut()
	events = follow(t, again, "drained", events, completed)
	require.Equal(t, 20, count(events, "node.finished", "roll-out"))
}

func testLogs(t *testing.T, c *composed) {
	token := c.issue(t, operator)
	waitFor(t, "the new token", func() bool { return answers(c.as(t, token)) })
	for _, request := range []string{
		"-H 'X-Smithers-Key: " + token + "' https://localhost/workflows",
		"'https://localhost/workflows?token=" + token + "'",
		"-H 'Referer: https://localhost/?token=" + token + "' https://localhost/workflows",
		"-H 'Authorization: Bearer " + token + "' -d '{}' https://localhost/v1/rpc/listRuns",
	} {
		c.sh(t, "curl -sSk -o /dev/null "+request)
	}
	logs := ""
	waitFor(t, "the requests in the log", func() bool {
		logs = docker(t, "logs", c.container)
		return strings.Contains(logs, "/v1/rpc/listRuns") && strings.Contains(logs, "REDACTED")
	})
	require.NotContains(t, logs, token)
	require.NotContains(t, logs, strings.TrimPrefix(token, "smithers_"))
}

// The image holds a binary, certificates, a user and a Caddyfile: where there is
// nothing else there is no secret, and nothing of the machine that built it.
func testImage(t *testing.T, c *composed) {
	id := docker(t, "create", "smithers-gateway:local")
	defer docker(t, "rm", id)
	cmd := exec.Command("docker", "export", id)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var files []string
	program := new(strings.Builder)
	for archive := tar.NewReader(out); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeDir || header.Size == 0 {
			continue // Docker adds empty files to mount over
		}
		files = append(files, header.Name)
		if strings.HasSuffix(header.Name, "smithers-gateway") {
			_, err := io.Copy(program, archive)
			require.NoError(t, err)
		}
	}
	require.NoError(t, cmd.Wait())
	slices.Sort(files)
	require.Equal(t, []string{
		"etc/group", "etc/passwd", "etc/smithers/Caddyfile", "etc/ssl/certs/ca-certificates.crt", "usr/bin/smithers-gateway",
		"usr/share/doc/smithers-gateway/LICENSE", "usr/share/doc/smithers-gateway/THIRD_PARTY_LICENSES",
	}, files)
	require.Contains(t, program.String(), "Europe/Berlin", "time/tzdata")
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	for _, path := range []string{repository, filepath.Join(home, "go")} {
		require.NotContains(t, program.String(), path, "a path of the machine that built it")
	}
	require.NotContains(t, docker(t, "history", "--no-trunc", "smithers-gateway:local"), "smithers_")
}

func testMeasures(t *testing.T, c *composed) {
	q := c.as(t, "")
	docker(t, "stop", c.container)
	begin := time.Now()
	docker(t, "start", c.container)
	began := docker(t, "inspect", "--format", "{{.State.StartedAt}}", c.container)
	at, err := time.Parse(time.RFC3339Nano, began)
	require.NoError(t, err)
	waitFor(t, "the gateway", func() bool { return ready(q) })
	t.Logf("MEASURED start: ready over TLS %s after docker start was called, %s after the process began",
		time.Since(begin).Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
	t.Logf("MEASURED memory when idle: %s", docker(t, "stats", "--no-stream", "--format", "{{.MemUsage}}", c.container))
}
