package release

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var unitPath = regexp.MustCompile(`(?m)^(?:ExecStart|ExecStartPre|ExecReload|EnvironmentFile)=(/\S+)(?:.* --config (\S+))?`)

// checkDebian unpacks the package into a folder and looks at what an installation gets.
func checkDebian(t *testing.T, deb, binary, root string) {
	require.Equal(t, "smithers-gateway 1.2.3~rc.1 "+runtime.GOARCH,
		strings.TrimSpace(run(t, "", "dpkg-deb", "--showformat", "${Package} ${Version} ${Architecture}", "--show", deb)))
	for line := range strings.Lines(run(t, "", "dpkg-deb", "-c", deb)) {
		require.Contains(t, line, " root/root ")
	}
	dir := t.TempDir()
	run(t, "", "dpkg-deb", "-R", deb, dir)
	modes := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		modes[strings.TrimPrefix(path, dir)] = info.Mode().Perm()
		return err
	}))
	require.Equal(t, map[string]fs.FileMode{
		"/DEBIAN/conffiles": 0o644, "/DEBIAN/control": 0o644, "/DEBIAN/preinst": 0o755, "/DEBIAN/postinst": 0o755, "/DEBIAN/postrm": 0o755, "/DEBIAN/prerm": 0o755,
		"/usr/bin/smithers-gateway":                               0o755,
		"/usr/lib/systemd/system/smithers-gateway.service":        0o644,
		"/etc/smithers/Caddyfile":                                 0o644,
		"/etc/smithers/gateway.env":                               0o600, // may hold secrets
		"/usr/share/doc/smithers-gateway/CHANGELOG.md.gz":         0o644,
		"/usr/share/doc/smithers-gateway/copyright":               0o644,
		"/usr/share/doc/smithers-gateway/THIRD_PARTY_LICENSES.gz": 0o644,
		"/usr/share/lintian/overrides/smithers-gateway":           0o644,
		"/usr/share/doc/smithers-gateway/examples/gateway.mjs":    0o644,
	}, modes)
	require.Equal(t, sum(t, binary), sum(t, dir+"/usr/bin/smithers-gateway"), "another binary than the archive's")

	checkLicenses(t, run(t, "", "gzip", "-dc", dir+"/usr/share/doc/smithers-gateway/THIRD_PARTY_LICENSES.gz"), binary)
	unit := read(t, dir+"/usr/lib/systemd/system/smithers-gateway.service")
	_, reference, _ := strings.Cut(read(t, root+"/deploy/reference/systemd/smithers-gateway.service"), "\n\n")
	require.Equal(t, strings.ReplaceAll(reference, "/usr/local/bin/", "/usr/bin/"), unit)
	named := unitPath.FindAllStringSubmatch(unit, -1)
	require.Len(t, named, 4)
	for _, m := range named {
		for _, path := range m[1:] {
			if path != "" {
				require.Contains(t, modes, path, "the unit names it")
			}
		}
	}
	var conffiles []string
	for path := range modes {
		if strings.HasPrefix(path, "/etc/") {
			conffiles = append(conffiles, path)
		}
	}
	require.ElementsMatch(t, conffiles, strings.Fields(read(t, dir+"/DEBIAN/conffiles")), "what the operator edits")

	run(t, dir, dir+"/usr/bin/smithers-gateway", "module", "check", "usr/share/doc/smithers-gateway/examples/gateway.mjs")
	run(t, dir, dir+"/usr/bin/smithers-gateway", "adapt", "--config", "etc/smithers/Caddyfile", "--adapter", "caddyfile")
	t.Run("scripts", func(t *testing.T) { checkScripts(t, dir+"/DEBIAN") })
}

// checkScripts runs the scripts of the package with programs that only note their calls:
// nothing is enabled or started that was not, and no answer of systemctl breaks a script,
// which would leave the package half-configured and apt refusing everything.
func checkScripts(t *testing.T, scripts string) {
	bin := t.TempDir()
	calls, fails, passwd := filepath.Join(bin, "calls"), filepath.Join(bin, "fails"), filepath.Join(bin, "passwd")
	for name, then := range map[string]string{"getent": "cat " + bin + "/$1", "useradd": "echo smithers:x:998:998::/var/lib/smithers:/usr/sbin/nologin >" + passwd, "systemctl": "! test -e " + fails} {
		body := "#!/bin/sh\necho " + name + ` "$@" >>` + calls + "\n" + then + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(body), 0o755))
	}
	try := func(script string, args ...string) (said, called string, err error) {
		require.NoError(t, os.WriteFile(calls, nil, 0o600))
		text := strings.ReplaceAll(read(t, filepath.Join(scripts, script)), "/run/systemd/system", bin) // systemd runs
		require.Contains(t, text, "set -e\n")
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", text, script}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), read(t, calls), err
	}
	call := func(script string, args ...string) (said, called string) {
		said, called, err := try(script, args...)
		require.NoError(t, err, said)
		return said, called
	}

	require.NoError(t, os.WriteFile(passwd, []byte("smithers:x:1000:1000::/home/smithers:/bin/bash\n"), 0o600))
	said, _, err := try("preinst", "install")
	require.Error(t, err, "the account of a person")
	require.Contains(t, said, "uid 1000")
	call("preinst", "upgrade", "1.2.2")
	require.NoError(t, os.Remove(passwd))
	call("preinst", "install")

	said, called := call("postinst", "configure", "")
	require.Contains(t, called, "useradd --system --user-group --home-dir /var/lib/smithers")
	require.NotContains(t, called, "enable")
	require.NotContains(t, called, " start")
	require.Contains(t, said, "not started")

	call("preinst", "install")
	said, called = call("postinst", "configure", "1.2.2")
	require.Empty(t, said, "an upgrade")
	require.NotContains(t, called, "useradd")
	require.NotContains(t, called, "enable")

	_, called = call("prerm", "upgrade", "1.2.4")
	require.Empty(t, called, "an upgrade neither stops nor disables")
	_, called = call("prerm", "remove")
	require.Equal(t, "systemctl stop smithers-gateway.service\nsystemctl disable smithers-gateway.service\n", called)
	for _, args := range [][]string{{"postrm", "remove"}, {"postrm", "purge"}, {"postinst", "abort-upgrade"}} {
		call(args[0], args[1:]...)
	}

	require.NoError(t, os.WriteFile(fails, nil, 0o600))
	said, called = call("postinst", "configure", "1.2.2")
	require.Contains(t, called, "systemctl try-restart smithers-gateway.service\n")
	require.Contains(t, said, "did not start: journalctl -u smithers-gateway")
	said, _ = call("prerm", "remove")
	require.Contains(t, said, "was not stopped: systemctl status smithers-gateway")
	call("postrm", "remove")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
