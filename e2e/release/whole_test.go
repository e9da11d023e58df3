package release

import (
	"archive/zip"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// targets of a release, and what the system calls the file of each.
var targets = map[string]string{
	"linux_amd64": "ELF EM_X86_64", "linux_arm64": "ELF EM_AARCH64", "darwin_amd64": "Mach-O CpuAmd64", "darwin_arm64": "Mach-O CpuArm64",
	"windows_amd64": "PE 8664", "windows_arm64": "PE aa64",
}

// TestWholeRelease makes what a tag makes, twice, the second time from another checkout
// and with RELEASE_CACHE=none from an empty build cache: not a byte is different.
// `make release-check` runs it; RELEASE_TARGETS is a comma-separated list or "all".
func TestWholeRelease(t *testing.T) {
	wanted := os.Getenv("RELEASE_TARGETS")
	if wanted == "" {
		t.Skip("make release-check runs this: it takes minutes")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(run(t, root, "git", "status", "--porcelain", "--untracked-files=no")), "commit first: the second release is made of the commit")
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	run(t, root, "git", "clone", "--quiet", "--no-hardlinks", root, elsewhere)
	run(t, elsewhere, "git", "checkout", "--quiet", "--detach", strings.TrimSpace(run(t, root, "git", "rev-parse", "HEAD")))

	first, second := filepath.Join(t.TempDir(), "dist"), filepath.Join(t.TempDir(), "dist")
	args := []string{"--version", version}
	if wanted != "all" {
		args = append(args, "--targets", wanted)
	} else {
		wanted = strings.ReplaceAll("linux_amd64,linux_arm64,darwin_amd64,darwin_arm64,windows_amd64,windows_arm64", "_", "/")
	}
	t.Log(run(t, root, ".ci/release", append(args, "--output", first)...))
	if os.Getenv("RELEASE_CACHE") == "none" {
		t.Setenv("GOCACHE", t.TempDir())
	}
	run(t, elsewhere, ".ci/release", append(args, "--output", second)...)
	listed := checksums(t, first)
	require.Equal(t, listed, checksums(t, second), "two releases of one commit")

	expected := 0
	for _, target := range strings.Split(strings.ReplaceAll(wanted, "/", "_"), ",") {
		name := "smithers-gateway_" + version + "_" + target
		archive := filepath.Join(first, name+".tar.gz")
		if strings.HasPrefix(target, "windows_") {
			archive = filepath.Join(first, name+".zip")
		}
		t.Run(target, func(t *testing.T) {
			binary := extract(t, archive, name, commitTime(t, root))
			require.Equal(t, targets[target], kind(t, binary))
			checkBOM(t, filepath.Join(first, name+".cdx.json"), binary, root)
		})
		expected += 2
		if arch, ok := strings.CutPrefix(target, "linux_"); ok {
			expected++
			deb := filepath.Join(first, "smithers-gateway_"+version+"_"+arch+".deb")
			require.FileExists(t, deb)
			if _, err := exec.LookPath("lintian"); err == nil {
				require.NotRegexp(t, `(?m)^[EW]: `, run(t, root, "lintian", "--allow-root", "--fail-on", "error,warning", deb))
			} else {
				t.Log("lintian is not installed")
			}
		}
	}
	require.Len(t, listed, expected)
}

// extract returns the path of the binary in an archive.
func extract(t *testing.T, archive, folder string, modified int64) string {
	if filepath.Ext(archive) != ".zip" {
		return unpack(t, archive, folder, modified)
	}
	packed, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer packed.Close()
	var names []string
	to := filepath.Join(t.TempDir(), "smithers-gateway.exe")
	for _, f := range packed.File {
		names = append(names, strings.TrimPrefix(f.Name, folder+"/"))
		require.InDelta(t, modified, f.Modified.Unix(), 2, f.Name) // zip counts in steps of two seconds
		if filepath.Base(f.Name) != "smithers-gateway.exe" {
			continue
		}
		in, err := f.Open()
		require.NoError(t, err)
		out, err := os.Create(to)
		require.NoError(t, err)
		_, err = io.Copy(out, in)
		require.NoError(t, err)
		require.NoError(t, out.Close())
	}
	require.Equal(t, []string{"CHANGELOG.md", "Caddyfile.example", "LICENSE", "README.md", "THIRD_PARTY_LICENSES", "smithers-gateway.exe"}, names)
	return to
}

// kind reads which systems a program is for.
func kind(t *testing.T, path string) string {
	if f, err := elf.Open(path); err == nil {
		defer f.Close()
		return "ELF " + f.Machine.String()
	}
	if f, err := macho.Open(path); err == nil {
		defer f.Close()
		return "Mach-O " + f.Cpu.String()
	}
	f, err := pe.Open(path)
	require.NoError(t, err, "neither ELF nor Mach-O nor PE")
	defer f.Close()
	return "PE " + strconv.FormatUint(uint64(f.Machine), 16)
}
