// Package release makes a release for this machine and looks at what is in it.
package release

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

const version = "1.2.3-rc.1"

// TestRelease makes what a tag makes, but for one target.
func TestRelease(t *testing.T) {
	rig.Need(t, runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"), "Linux on amd64 or arm64")
	for _, tool := range []string{"tar", "dpkg-deb"} {
		_, err := exec.LookPath(tool)
		rig.Need(t, err == nil, tool)
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	const modified = 1_700_000_000
	t.Setenv("SOURCE_DATE_EPOCH", strconv.Itoa(modified))
	t.Setenv("GIT_DIR", t.TempDir()) // as in a folder that is no checkout

	dist := filepath.Join(t.TempDir(), "dist")
	run(t, root, ".ci/release", "--targets", "linux/"+runtime.GOARCH, "--version", version, "--output", dist)
	name := "smithers-gateway_" + version + "_linux_" + runtime.GOARCH
	deb := filepath.Join(dist, "smithers-gateway_"+version+"_"+runtime.GOARCH+".deb")

	sums := checksums(t, dist)
	require.Len(t, sums, 3)
	binary := unpack(t, filepath.Join(dist, name+".tar.gz"), name, modified)
	t.Run("binary", func(t *testing.T) { checkBinary(t, binary, root) })
	t.Run("licences", func(t *testing.T) {
		checkLicenses(t, read(t, filepath.Join(filepath.Dir(binary), "THIRD_PARTY_LICENSES")), binary)
	})
	t.Run("SBOM", func(t *testing.T) { checkBOM(t, filepath.Join(dist, name+".cdx.json"), binary, root) })
	t.Run("Debian package", func(t *testing.T) { checkDebian(t, deb, binary, root) })
}

// checksums compares SHA256SUMS with the folder it is in: every file, and no other.
func checksums(t *testing.T, dist string) map[string]string {
	text, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	require.NoError(t, err)
	listed := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, ok, line)
		listed[name] = sum
	}
	found := map[string]string{}
	entries, err := os.ReadDir(dist)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != "SHA256SUMS" {
			found[e.Name()] = sum(t, filepath.Join(dist, e.Name()))
		}
	}
	require.Equal(t, found, listed)
	return listed
}

// unpack reads the archive, whose owners and times tell nothing of where it was made, and
// returns the path of its binary.
func unpack(t *testing.T, path, folder string, modified int64) string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	packed, err := gzip.NewReader(bufio.NewReader(f))
	require.NoError(t, err)
	require.True(t, packed.ModTime.IsZero(), "the archive's own time")
	to := t.TempDir()
	var names []string
	for archive := tar.NewReader(packed); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.Zero(t, h.Uid+h.Gid, h.Name)
		require.Equal(t, modified, h.ModTime.Unix(), h.Name)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := strings.TrimPrefix(h.Name, folder+"/")
		names = append(names, name)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, filepath.Base(name)), data, h.FileInfo().Mode().Perm()))
	}
	require.Equal(t, []string{"CHANGELOG.md", "Caddyfile.example", "LICENSE", "README.md", "THIRD_PARTY_LICENSES", "smithers-gateway"}, names)
	return filepath.Join(to, "smithers-gateway")
}

// checkBinary: it runs, bears the version, and names no folder of this machine.
func checkBinary(t *testing.T, binary, root string) {
	require.Contains(t, run(t, "", binary, "list-modules"), "http.handlers.smithers")
	require.Contains(t, run(t, "", binary, "version"), version+" v2.")
	data, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.True(t, bytes.Contains(data, []byte(version)), "the version")
	for _, folder := range []string{root, strings.TrimSpace(run(t, root, "go", "env", "GOMODCACHE"))} {
		require.False(t, bytes.Contains(data, []byte(folder)), "the binary names %s", folder)
	}
}

// checkBOM: it lists every module that the binary names, in the same version, and those
// that decide what is kept and run in the versions of go.mod.
func checkBOM(t *testing.T, path, binary, root string) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var bom struct {
		BOMFormat, SpecVersion string
		Components             []struct{ Name, Version, PURL string }
		Metadata               struct {
			Component  struct{ Name, Version string }
			Properties []struct{ Name, Value string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &bom))
	require.Equal(t, "CycloneDX", bom.BOMFormat)
	require.Equal(t, "v"+version, bom.Metadata.Component.Version)
	listed := map[string]string{}
	for _, c := range bom.Components {
		require.Contains(t, c.PURL, "pkg:golang/")
		listed[c.Name] = c.Version
	}
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	for _, d := range info.Deps {
		require.Equal(t, d.Version, listed[d.Path], d.Path)
	}
	for _, path := range []string{"modernc.org/sqlite", "modernc.org/libquickjs", "github.com/caddyserver/caddy/v2"} {
		require.Equal(t, strings.TrimSpace(run(t, root, "go", "list", "-m", "-f", "{{.Version}}", path)), listed[path], path)
	}
	var hash string
	for _, p := range bom.Metadata.Properties {
		if p.Name == "cdx:gomod:binary:hash:SHA-256" {
			hash = p.Value
		}
	}
	require.Equal(t, sum(t, binary), hash, "it is of another binary")
}

var goRun = regexp.MustCompile(`(?m)^\w+=\w+\.\w+/\S+@(\S+)$`)

// TestToolsArePinned: a release made twice is made by the same programs.
func TestToolsArePinned(t *testing.T) {
	text, err := os.ReadFile("../../.ci/release")
	require.NoError(t, err)
	tools := goRun.FindAllSubmatch(text, -1)
	require.NotEmpty(t, tools)
	for _, m := range tools {
		require.Regexp(t, `^v\d+\.\d+\.\d+$`, string(m[1]))
	}
}

// TestReleaseRefusals: what is misspelt is named, before anything is built or removed.
func TestReleaseRefusals(t *testing.T) {
	rig.Need(t, runtime.GOOS != "windows", "a shell")
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	t.Setenv("GIT_DIR", t.TempDir())
	kept := filepath.Join(t.TempDir(), "kept")
	require.NoError(t, os.WriteFile(kept, nil, 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--targets", "darwin/386"}, "no release for darwin/386"},
		{[]string{"--version", "1.2"}, "want X.Y.Z"},
		{nil, "no git checkout"},
		{[]string{"--version"}, "--version needs a value"},
		{[]string{"--goal", "x"}, "unknown argument --goal"},
	} {
		cmd := exec.CommandContext(t.Context(), "./.ci/release", append([]string{"--output", filepath.Dir(kept)}, c.args...)...)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), c.want)
		require.FileExists(t, kept)
	}
}

func commitTime(t *testing.T, root string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(run(t, root, "git", "log", "-1", "--format=%ct")), 10, 64)
	require.NoError(t, err)
	return n
}

func sum(t *testing.T, path string) string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	if strings.HasPrefix(name, ".") {
		name = filepath.Join(dir, name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s%s", name, out, stderr.String())
	return string(out)
}
