package deploytest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	older = "1.2.3-rc.1"
	newer = "1.2.3"
)

// packages makes the Debian package twice, of two versions. They are not compressed:
// e2e/release has those that are released.
func packages(t *testing.T) (dir string) {
	t.Helper()
	tool(t, "dpkg-deb")
	dir = t.TempDir()
	for _, version := range []string{older, newer} {
		output(t, filepath.Join(repository, ".ci", "debian-package"), version, runtime.GOARCH, binary, filepath.Join(dir, version+".deb"), "-Znone")
	}
	return dir
}

// revised returns the newer package with another default in a file of the operator.
func revised(t *testing.T, dir string) string {
	t.Helper()
	tree, deb := filepath.Join(t.TempDir(), "tree"), filepath.Join(dir, "revised.deb")
	output(t, "dpkg-deb", "-R", filepath.Join(dir, newer+".deb"), tree)
	for _, name := range []string{"Caddyfile", "gateway.env"} {
		path := filepath.Join(tree, "etc", "smithers", name)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(text, "# revised\n"...), 0o600))
	}
	control := filepath.Join(tree, "DEBIAN", "control")
	text, err := os.ReadFile(control)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(control, []byte(strings.Replace(string(text), "Version: "+newer, "Version: 1.2.4", 1)), 0o644))
	output(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb)
	return deb
}

// The life of the package on a Debian with a running systemd: installed, set to work,
// upgraded, removed, installed again, purged.
func TestDebianPackage(t *testing.T) {
	h := startHost(t)
	const unit = "smithers-gateway"
	dir := packages(t)
	revision := revised(t, dir)
	docker(t, "cp", filepath.Join(dir, older+".deb"), h.name+":/src/smithers-gateway.deb")
	docker(t, "cp", filepath.Join(dir, newer+".deb"), h.name+":/src/newer.deb")
	docker(t, "cp", revision, h.name+":/src/revised.deb")
	guide := strings.SplitAfter(strings.Join(blocks(t, "tested: package"), ""), "\n")
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
		h.run(t, "dpkg -i newer.deb </dev/null")
		require.Equal(t, newer, h.run(t, "dpkg-query --showformat '${Version}' --show smithers-gateway"))
		require.Equal(t, "active enabled", h.property(t, unit, "ActiveState")+" "+h.property(t, unit, "UnitFileState"))
		require.NotEqual(t, pid, h.property(t, unit, "MainPID"), "the new binary runs")
		require.Contains(t, h.run(t, "cat /etc/smithers/gateway.env"), "# mine")
		kept(t)
	})
	t.Run("upgrade with other defaults", func(t *testing.T) {
		h.run(t, "dpkg --force-confold -i revised.deb </dev/null")
		require.Contains(t, h.run(t, "cat /etc/smithers/Caddyfile"), "# revised", "nobody had changed it")
		env := h.run(t, "cat /etc/smithers/gateway.env")
		require.Contains(t, env, "# mine")
		require.NotContains(t, env, "# revised")
		require.Contains(t, h.run(t, "cat /etc/smithers/gateway.env.dpkg-dist"), "# revised")
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
		h.run(t, "dpkg -i revised.deb </dev/null")
		require.Equal(t, "inactive disabled", h.property(t, unit, "ActiveState")+" "+h.property(t, unit, "UnitFileState"))
		require.Contains(t, h.run(t, "cat /etc/smithers/gateway.env"), "# mine")
		h.run(t, "systemctl enable --now smithers-gateway")
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
