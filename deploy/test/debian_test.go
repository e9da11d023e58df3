package deploytest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

const (
	older = "1.2.3-rc.1"
	newer = "1.2.3"
)

// packages makes the Debian package of two versions, the newer with another default in
// the Caddyfile. They are not compressed: e2e/release has those that are released.
func packages(t *testing.T) (dir string) {
	t.Helper()
	tool(t, "dpkg-deb")
	dir = t.TempDir()
	deb := filepath.Join(dir, older+".deb")
	output(t, filepath.Join(repository, ".ci", "debian-package"), older, runtime.GOARCH, binary, deb, "-Znone")
	tree := filepath.Join(dir, "tree")
	output(t, "dpkg-deb", "-R", deb, tree)
	edit := func(name, old, new string) {
		path := filepath.Join(tree, filepath.FromSlash(name))
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), old)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o644))
	}
	edit("etc/smithers/Caddyfile", "# Names of", "# REVISED: names of")
	edit("DEBIAN/control", "Version: "+strings.Replace(older, "-", "~", 1), "Version: "+newer)
	output(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, filepath.Join(dir, newer+".deb"))
	return dir
}

// The life of the package on a Debian with a running systemd: installed, set to work,
// upgraded, removed, installed again, purged.
func TestDebianPackage(t *testing.T) {
	h := startHost(t)
	const unit = "smithers-gateway"
	dir := packages(t)
	docker(t, "cp", filepath.Join(dir, older+".deb"), h.name+":/src/smithers-gateway.deb")
	docker(t, "cp", filepath.Join(dir, newer+".deb"), h.name+":/src/newer.deb")
	h.run(t, "echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/quick") // its syncs are not what is tested
	guide := strings.SplitAfter(docs.Tested(t, "deploy/reference/README.md").Script(), "\n")
	require.Contains(t, guide[0], "dpkg -i")
	health := func() bool {
		_, err := h.try("curl -fsS http://127.0.0.1:7331/health/ready")
		return err == nil
	}

	t.Run("install", func(t *testing.T) {
		require.Contains(t, h.run(t, guide[0]), "not started")
		require.Equal(t, "inactive disabled", h.property(t, unit, "ActiveState")+" "+h.property(t, unit, "UnitFileState"))
		require.Regexp(t, `^smithers:x:\d{3}:\d{3}::/var/lib/smithers:/usr/sbin/nologin$`, h.run(t, "getent passwd smithers"))
		require.Equal(t, strings.Join([]string{
			"/usr/bin/smithers-gateway root root 755", "/usr/lib/systemd/system/smithers-gateway.service root root 644", "/etc/smithers root root 755",
			"/etc/smithers/Caddyfile root root 644", "/etc/smithers/gateway.env root root 600",
		}, "\n"), h.run(t, "stat -c '%n %U %G %a' /usr/bin/smithers-gateway /usr/lib/systemd/system/smithers-gateway.service "+
			"/etc/smithers /etc/smithers/Caddyfile /etc/smithers/gateway.env"))
		require.Empty(t, h.run(t, "dpkg --verify smithers-gateway"), "files that are not what the package says")
		require.Regexp(t, `(?s)/etc/smithers/Caddyfile [0-9a-f]{32}.*/etc/smithers/gateway.env [0-9a-f]{32}`, h.run(t, "dpkg-query --showformat '${Conffiles}' --show smithers-gateway"))
		require.NotContains(t, h.run(t, "systemd-analyze verify --man=no --recursive-errors=yes smithers-gateway.service 2>&1"), unit, "a warning about the unit")
	})

	var token string
	t.Run("set to work", func(t *testing.T) {
		h.run(t, strings.Join(guide[1:], ""))
		waitFor(t, "the gateway", health)
		token = h.issue(t)
		launched := `{"workflow":"release","input":{"hosts":1},"options":{"runId":"kept"}}`
		waitFor(t, "a launch with the token", func() bool {
			out, err := h.try("curl -fsS http://127.0.0.1:7331/v1/rpc/launchRun -H 'Authorization: Bearer " + token + "' -d '" + launched + "'")
			return err == nil && strings.Contains(out, `"ok":true`)
		})
	})
	kept := func(t *testing.T) {
		t.Helper()
		waitFor(t, "the gateway", health)
		waitFor(t, "the run and the token", func() bool {
			out, err := h.try(`curl -fsS http://127.0.0.1:7331/v1/rpc/getRun -H 'Authorization: Bearer ` + token + `' -d '{"runId":"kept"}'`)
			return err == nil && strings.Contains(out, `"runId":"kept"`)
		})
	}

	t.Run("upgrade", func(t *testing.T) {
		h.run(t, "echo '# mine' >>/etc/smithers/gateway.env")
		pid := h.property(t, unit, "MainPID")
		h.run(t, "dpkg -i newer.deb </dev/null") // nothing is asked
		require.Equal(t, newer, h.run(t, "dpkg-query --showformat '${Version}' --show smithers-gateway"))
		require.Equal(t, "active enabled", h.property(t, unit, "ActiveState")+" "+h.property(t, unit, "UnitFileState"))
		require.NotEqual(t, pid, h.property(t, unit, "MainPID"), "the new binary runs")
		require.Contains(t, h.run(t, "cat /etc/smithers/gateway.env"), "# mine")
		require.Contains(t, h.run(t, "cat /etc/smithers/Caddyfile"), "# REVISED", "nobody had changed it")
		kept(t)
	})
	t.Run("remove", func(t *testing.T) {
		h.run(t, "dpkg -r smithers-gateway")
		require.Equal(t, "inactive", h.property(t, unit, "ActiveState"))
		_, err := h.try("pidof smithers-gateway || test -e /usr/bin/smithers-gateway || systemctl is-enabled smithers-gateway")
		require.Error(t, err, "something of it is left")
		h.run(t, "test -s /etc/smithers/gateway.env -a -s /var/lib/smithers/smithers.db -a -s /srv/smithers/gateway.mjs")
	})
	t.Run("install again", func(t *testing.T) {
		h.run(t, "dpkg -i newer.deb </dev/null")
		require.Equal(t, "inactive disabled", h.property(t, unit, "ActiveState")+" "+h.property(t, unit, "UnitFileState"))
		require.Contains(t, h.run(t, "cat /etc/smithers/gateway.env"), "# mine")
		h.run(t, "systemctl enable --now smithers-gateway")
		kept(t)
	})
	t.Run("a config that is refused", func(t *testing.T) {
		h.run(t, "cp /etc/smithers/Caddyfile /root/ && echo '}' >>/etc/smithers/Caddyfile")
		require.Contains(t, h.run(t, "dpkg -i newer.deb 2>&1 </dev/null"), "did not start: journalctl -u smithers-gateway")
		require.Equal(t, "install ok installed", h.run(t, "dpkg-query --showformat '${Status}' --show smithers-gateway"))
		h.run(t, "cp /root/Caddyfile /etc/smithers/ && systemctl reset-failed smithers-gateway && systemctl restart smithers-gateway")
		kept(t)
	})
	t.Run("purge", func(t *testing.T) {
		require.Contains(t, h.run(t, "dpkg -P smithers-gateway"), "kept in /var/lib/smithers")
		_, err := h.try("ls /etc/smithers || ls /usr/lib/systemd/system/smithers-gateway.service || systemctl cat smithers-gateway")
		require.Error(t, err, "something of it is left")
		require.Equal(t, "smithers 600", h.run(t, "stat -c '%U %a' /var/lib/smithers/smithers.db"))
		require.NotContains(t, h.run(t, "dpkg-query --list"), "smithers-gateway")
	})
}
