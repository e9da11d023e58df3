package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var caddyfiles = [][]string{
	{"Caddyfile"}, {"systemd", "Caddyfile"}, {"systemd", "Caddyfile.inside"}, {"systemd", "Caddyfile.edge"}, {"k8s", "Caddyfile"},
}

func TestCaddyfiles(t *testing.T) {
	for _, file := range caddyfiles {
		path := filepath.Join(append([]string{reference}, file...)...)
		t.Run(filepath.Join(file...), func(t *testing.T) {
			for _, env := range [][]string{nil, {"SMITHERS_DOMAIN=gateway.example.com", "PORT=7332"}, {"SMITHERS_DOMAIN=a.internal, b.internal"}} {
				cmd := exec.Command(binary, "validate", "--adapter", "caddyfile", "--config", path)
				cmd.Env = append(os.Environ(), env...)
				cmd.Env = append(cmd.Env, "HOME="+t.TempDir(), "XDG_DATA_HOME="+t.TempDir())
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%v\n%s", env, out)
				require.Contains(t, string(out), "Valid configuration")
			}
			// fmt exits 1 when it would change something.
			out, err := exec.Command(binary, "fmt", path).Output()
			require.NoError(t, err, "caddy fmt would change the file")
			require.Equal(t, read(t, file...), string(out))
		})
	}
}

// Every log of every site hides tokens, in the one way that is tested.
func TestCaddyfilesKeepTokensOutOfLogs(t *testing.T) {
	snippet := func(text string) string {
		begin := strings.Index(text, "(tokens_redacted) {")
		return text[begin : begin+strings.Index(text[begin:], "\n}\n")]
	}
	want := snippet(read(t, caddyfiles[0]...))
	for _, file := range caddyfiles {
		text := read(t, file...)
		require.Equal(t, want, snippet(text), file)
		require.Equal(t, strings.Count(text, "\tlog {\n"), strings.Count(text, "import tokens_redacted"), file)
		require.NotRegexp(t, `(?m)^\tlog$`, text, file)
	}
}
