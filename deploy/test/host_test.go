package deploytest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// host is a Debian whose PID 1 is systemd, in a container.
type host struct {
	name string
	base string // of port 443, seen from here
}

// systemdImage is made by the script `run`.
const systemdImage = "smithers-test-systemd"

// startHost boots one for the test; it is gone when the test ends.
func startHost(t *testing.T) *host {
	t.Helper()
	engine(t)
	if _, err := try("docker", "image", "inspect", systemdImage); err != nil {
		absent(t, "the image %s is not there; deploy/test/run makes it", systemdImage)
	}
	h := &host{name: "smithers-test-" + strings.ToLower(t.Name()) + "-" + strconv.Itoa(os.Getpid())}
	port := rig.FreePort(t)
	h.base = fmt.Sprintf("https://localhost:%d", port)
	// Everything systemd needs, but not --privileged, which not every engine can give.
	boot := `for c in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,rw "$c" 2>/dev/null; done; exec /sbin/init`
	docker(t, "run", "--detach", "--name", h.name, "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--cgroupns", "private", "--volume", "/src", "--tmpfs", "/run", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3", "--env", "container=docker",
		"--publish", fmt.Sprintf("127.0.0.1:%d:443", port), systemdImage, "sh", "-c", boot)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := h.try("journalctl --no-pager --lines 60 --unit 'smithers-*' | cut -c1-400")
			t.Log(tail(out))
		}
		docker(t, "rm", "--force", "--volumes", h.name)
	})
	waitFor(t, "systemd", func() bool {
		out, _ := h.try("systemctl is-system-running")
		return strings.Contains(out, "running") || strings.Contains(out, "degraded")
	})
	if limit := fileLimit(t); limit < wantedFiles {
		t.Logf("this machine allows %d open files: the units get no more", limit)
		h.run(t, fmt.Sprintf("mkdir -p /etc/systemd/system/service.d && printf '[Service]\\nLimitNOFILE=%d\\n' > /etc/systemd/system/service.d/limit.conf", limit))
	}
	return h
}

func (h *host) try(script string) (string, error) {
	return try("docker", "exec", h.name, "bash", "-c", "set -euo pipefail\ncd /src\n"+script)
}

// run runs a script as root on the host; it must succeed.
func (h *host) run(t *testing.T, script string) string {
	t.Helper()
	out, err := h.try(script)
	require.NoError(t, err, out)
	return strings.TrimSpace(out)
}

func (h *host) property(t *testing.T, unit, name string) string {
	t.Helper()
	return h.run(t, "systemctl show --property "+name+" --value "+unit)
}

func (h *host) issue(t *testing.T) string {
	t.Helper()
	return h.run(t, "runuser -u smithers -- smithers-gateway token issue --store /var/lib/smithers/tokens.json --scopes "+operator+" 2>/dev/null")
}

// The guide for one host, then what an administrator does all year, then the guide for
// TLS in front.
func TestHost(t *testing.T) {
	h := startHost(t)
	const unit = "smithers-gateway"
	h.run(t, "mkdir -p bin deploy")
	docker(t, "cp", binary, h.name+":/src/bin/smithers-gateway")
	docker(t, "cp", reference, h.name+":/src/deploy/reference")

	out := h.run(t, docs.Tested(t, "deploy/reference/README.md").Script())
	for _, want := range []string{"active (running)", `"runId":"first"`, "copied /var/lib/smithers/smithers.db", "restored /var/lib/smithers/smithers.db"} {
		require.Contains(t, out, want)
	}
	require.Equal(t, "active", h.property(t, unit, "ActiveState"))
	require.NotEqual(t, "0", h.run(t, "id -u smithers"))

	root := rootCertificate(t, h.name, "/var/lib/smithers/caddy/pki/authorities/local/root.crt")
	q := remote(t, h.base, h.issue(t), root)
	waitFor(t, "the token", func() bool { return answers(q) })

	t.Run("permissions", func(t *testing.T) {
		modes := h.run(t, "stat -c '%n %U %a' /var/lib/smithers /var/lib/smithers/smithers.db /var/lib/smithers/tokens.json /etc/smithers/gateway.env /run/smithers")
		require.Equal(t, strings.Join([]string{
			"/var/lib/smithers smithers 700", "/var/lib/smithers/smithers.db smithers 600", "/var/lib/smithers/tokens.json smithers 600",
			"/etc/smithers/gateway.env root 600", "/run/smithers smithers 700",
		}, "\n"), modes)
		pid := h.property(t, unit, "MainPID")
		status := h.run(t, "cat /proc/"+pid+"/status")
		require.Contains(t, status, "NoNewPrivs:\t1")
		require.Contains(t, status, "Seccomp:\t2", "the filter of system calls is in force")
		require.Contains(t, status, "CapEff:\t0000000000000400", "CAP_NET_BIND_SERVICE alone")
	})

	t.Run("a workflow runs under the hardening", func(t *testing.T) {
		launch(t, q, "hardened", 3)
		socket, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer socket.Cut()
		events := follow(t, socket, "hardened", nil, completed)
		require.Equal(t, 3, count(events, "node.finished", "roll-out"))
	})

	t.Run("reload keeps the process and its sockets", func(t *testing.T) {
		socket, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer socket.Cut()
		pid := h.property(t, unit, "MainPID")
		h.run(t, "sed -i 's/release/rollout/' /srv/smithers/gateway.mjs && systemctl reload "+unit)
		require.Equal(t, pid, h.property(t, unit, "MainPID"))
		require.NoError(t, socket.Call(t.Context(), "health", nil, nil))
		require.Contains(t, h.run(t, "curl -sS http://127.0.0.1:7331/workflows"), "rollout")
		h.run(t, "sed -i 's/rollout/release/' /srv/smithers/gateway.mjs && systemctl reload "+unit)
	})

	t.Run("a broken config is refused, the old one goes on", func(t *testing.T) {
		h.run(t, "cp /etc/smithers/Caddyfile /tmp/good && sed -i 's/public_metrics on/public_metricz on/' /etc/smithers/Caddyfile")
		_, err := h.try("systemctl reload " + unit)
		require.Error(t, err)
		require.Equal(t, "active", h.property(t, unit, "ActiveState"))
		require.True(t, answers(q))
	})

	t.Run("a broken config does not start, and says why", func(t *testing.T) {
		h.run(t, "systemctl stop "+unit)
		_, err := h.try("systemctl start " + unit)
		require.Error(t, err)
		require.Contains(t, h.run(t, "journalctl --no-pager --lines 20 --unit "+unit), "public_metricz")
		h.run(t, "systemctl stop "+unit+"; systemctl reset-failed "+unit+"; cp /tmp/good /etc/smithers/Caddyfile; systemctl start "+unit)
		waitFor(t, "the gateway", func() bool { return ready(q) })
	})

	t.Run("stop drains", func(t *testing.T) {
		launch(t, q, "drained", 15)
		socket, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		events := follow(t, socket, "drained", nil, func(e []*client.RunEvent) bool { return len(e) >= 8 })
		begin := time.Now()
		h.run(t, "systemctl stop "+unit)
		t.Logf("MEASURED systemctl stop with an open stream and a run at work: %s", time.Since(begin).Round(10*time.Millisecond))
		<-socket.Done()
		require.Contains(t, []int{1001, 1012}, socket.CloseCode(), "%v", socket.Err())
		require.Equal(t, "success", h.property(t, unit, "Result"))

		begin = time.Now()
		h.run(t, "systemctl start "+unit)
		t.Logf("MEASURED systemctl start, validation included: %s", time.Since(begin).Round(10*time.Millisecond))
		waitFor(t, "the gateway", func() bool { return ready(q) })
		again, err := q.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		defer again.Cut()
		events = follow(t, again, "drained", events, completed)
		require.Equal(t, 15, count(events, "node.finished", "roll-out"))
	})

	t.Run("killed: systemd starts it again", func(t *testing.T) {
		pid := h.property(t, unit, "MainPID")
		h.run(t, "kill -9 "+pid)
		waitFor(t, "another process", func() bool {
			now := h.property(t, unit, "MainPID")
			return now != "0" && now != pid && ready(q)
		})
		run, err := q.Run(t.Context(), "drained")
		require.NoError(t, err)
		require.Equal(t, "finished", run.Status)
	})

	t.Run("a public name", func(t *testing.T) { testPublicName(t, h) })

	t.Run("a drop-in for modules of Smithers", func(t *testing.T) {
		const property = "MemoryDenyWriteExecute"
		require.Equal(t, "yes", h.property(t, unit, property))
		h.run(t, docs.Tested(t, "deploy/reference/README.md", "bun").Script())
		require.Equal(t, "no", h.property(t, unit, property))
		waitFor(t, "the gateway", func() bool { return ready(q) })
		h.run(t, "rm -r /etc/systemd/system/smithers-gateway.service.d && systemctl daemon-reload && systemctl restart "+unit)
		waitFor(t, "the gateway", func() bool { return ready(q) })
	})

	t.Run("exposure, as the running systemd scores it", func(t *testing.T) {
		m := exposure.FindStringSubmatch(h.run(t, "systemd-analyze security --no-pager "+unit))
		require.NotNil(t, m)
		t.Logf("MEASURED exposure of %s: %s of 10", unit, m[1])
	})

	t.Run("TLS in a process of its own", func(t *testing.T) { testEdge(t, h, q.Token) })
}

// testPublicName writes the guide's name into the environment. There is nobody here who
// would sign for it: the config is what the unit would start with.
func testPublicName(t *testing.T, h *host) {
	h.run(t, "cp -p /etc/smithers/gateway.env /tmp/gateway.env")
	h.run(t, docs.Tested(t, "deploy/reference/README.md", "name").Script())
	const env = "set -a && . /etc/smithers/gateway.env && set +a && "
	require.Contains(t, h.run(t, env+"smithers-gateway validate --config /etc/smithers/Caddyfile 2>&1"), "Valid configuration")
	config := h.run(t, env+"smithers-gateway adapt --config /etc/smithers/Caddyfile 2>/dev/null")
	require.Contains(t, config, `"gateway.example.com"`)
	require.NotContains(t, config, `"module":"internal"`, "a name of the Internet is signed by its authorities")
	h.run(t, "mv /tmp/gateway.env /etc/smithers/gateway.env")
}

func testEdge(t *testing.T, h *host, token string) {
	h.run(t, docs.Tested(t, "deploy/reference/README.md", "edge").Script())
	root := rootCertificate(t, h.name, "/var/lib/smithers-caddy/caddy/pki/authorities/local/root.crt")
	q := remote(t, h.base, token, root)
	waitFor(t, "the edge", func() bool { return answers(q) })

	listening := h.run(t, "cat /proc/net/tcp /proc/net/tcp6")
	require.Contains(t, listening, "0100007F:1CA3", "7331 on 127.0.0.1")
	require.NotContains(t, listening, "00000000:1CA3", "7331 on every address")
	for _, path := range []string{"/metrics", "/workflows"} {
		status, _, err := q.Get(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, 404, status, path)
	}

	launch(t, q, "edge", 15)
	socket, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer socket.Cut()
	events := follow(t, socket, "edge", nil, func(e []*client.RunEvent) bool { return len(e) >= 8 })

	// A reload of the edge leaves sockets alone.
	h.run(t, "systemctl reload smithers-caddy")
	require.NoError(t, socket.Call(t.Context(), "health", nil, nil))

	// While the gateway restarts, requests wait.
	h.run(t, "systemctl stop smithers-gateway && (systemctl start --no-block smithers-gateway)")
	status, _, err := q.Get(t.Context(), "/health/ready") // for as long as the edge waits, not this client
	require.NoError(t, err)
	require.Equal(t, 200, status, "a request during the restart")
	<-socket.Done()

	again, err := q.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer again.Cut()
	events = follow(t, again, "edge", events, completed)
	require.Equal(t, 15, count(events, "node.finished", "roll-out"))

	// The gateway sees the client's address, not the edge's. Docker's gateway address
	// stands for the client.
	waitFor(t, "requests in the log, none from the edge's address", func() bool {
		lines := h.run(t, "journalctl --no-pager --unit smithers-gateway --grep handled --lines 5 || true")
		return strings.Contains(lines, `"client_ip":"`) && !strings.Contains(lines, `"client_ip":"127.0.0.1"`)
	})

	// Keys and tokens are apart.
	pid := h.property(t, "smithers-caddy", "MainPID")
	_, err = h.try("nsenter --target " + pid + " --mount ls /var/lib/smithers/tokens.json")
	require.Error(t, err, "the edge's service sees the tokens")
	require.NotContains(t, filepath.Base(h.run(t, "ps -o user= -p "+pid+" 2>/dev/null || stat -c %U /proc/"+pid)), "root")
}
