package deploytest

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	block  = regexp.MustCompile("(?s)(?:<!-- ([^\n]*) -->\n)?```sh\n(.*?)```")
	marker = regexp.MustCompile(`^(tested: (compose|smithers|package|host|edge|kubernetes|make test builds it the same way)|needs: .+)$`)
)

// blocks returns the commands of the guide under a marker, in order.
func blocks(t *testing.T, mark string) []string {
	t.Helper()
	var found []string
	for _, m := range block.FindAllStringSubmatch(read(t, "README.md"), -1) {
		if m[1] == mark {
			found = append(found, m[2])
		}
	}
	require.NotEmpty(t, found, mark)
	return found
}

// Every command of the guide is run by a test or says what it needs.
func TestGuideSaysWhatIsTested(t *testing.T) {
	for _, m := range block.FindAllStringSubmatch(read(t, "README.md"), -1) {
		require.Regexp(t, marker, m[1], m[2])
	}
}

// shell runs a script with bash in a folder; it must succeed.
func shell(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
