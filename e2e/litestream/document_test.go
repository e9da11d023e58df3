package litestream

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// document runs the blocks of docs/operations.md as they are written, with the folders of
// the system below one of the test, no users but ours, and a systemctl that only notes what
// it is told: the test starts and stops what the unit says.
type document struct {
	t      *testing.T
	root   string // stands for /
	blocks *docs.Taken
}

const pretended = `set -euo pipefail
systemctl() { echo "$*" >>"$CALLS"; }
runuser() { shift 3; "$@"; }
install() {
	local kept=()
	while [ $# -gt 0 ]; do
		case $1 in -o | -g) shift 2 ;; *) kept+=("$1"); shift ;; esac
	done
	command install "${kept[@]}"
}
`

func openDocument(t *testing.T, root, binary string) *document {
	t.Helper()
	_, err := exec.LookPath("bash")
	rig.Need(t, err == nil, "bash")
	d := &document{t: t, root: root, blocks: docs.Tested(t, "docs/operations.md")}
	require.Equal(t, 3, d.blocks.Left(), "set up, restore, start")
	for _, dir := range []string{"etc/systemd/system", "var/lib/smithers", "var/backups", "usr/local/bin"} {
		require.NoError(t, os.MkdirAll(d.path("/"+dir), 0o755))
	}
	require.NoError(t, os.Symlink(binary, d.path("/usr/local/bin/litestream")))
	return d
}

// path is where a path of the document is.
func (d *document) path(path string) string { return filepath.Join(d.root, path) }

func (d *document) moved(text string) string {
	return strings.NewReplacer("/etc/", d.path("/etc")+"/", "/var/", d.path("/var")+"/", "/usr/local/bin/", d.path("/usr/local/bin")+"/").Replace(text)
}

// run runs the next block and returns what it told systemctl.
func (d *document) run() (calls []string) {
	d.t.Helper()
	block := d.blocks.Next().Text
	told := filepath.Join(d.t.TempDir(), "calls")
	cmd := exec.CommandContext(d.t.Context(), "bash", "-c", pretended+d.moved(block))
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CALLS="+told, "PATH="+d.path("/usr/local/bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(d.t, err, "%s\n%s", block, out)
	text, err := os.ReadFile(told)
	require.NoError(d.t, err, block)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// unit is the command and the environment of an installed unit.
func (d *document) unit(name string) (command, environment []string) {
	d.t.Helper()
	text, err := os.ReadFile(d.path("/etc/systemd/system/" + name))
	require.NoError(d.t, err)
	require.Contains(d.t, string(text), "\nBefore=smithers-gateway.service\nPartOf=smithers-gateway.service\n", "it outlives the gateway")
	for line := range strings.Lines(d.moved(string(text))) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ExecStart":
			command = strings.Fields(value)
		case "Environment":
			environment = append(environment, value)
		}
	}
	require.NotEmpty(d.t, command)
	return command, environment
}
