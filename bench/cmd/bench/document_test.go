package main

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/smithersai/caddy-smithers/bench/scenarios"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// noted prints what would be run, one argument and a NUL after the other, and a line for
// each command.
const noted = `
go() { printf '%s\0' "$@"; echo; }
make() (
	made=$(command make --no-print-directory -n "$@")
	eval "$made"
)
`

// What bench/README.md tells to type is understood, and names scenarios that there are. The
// scenarios themselves are run, tiny, by .ci/test.
func TestDocumented(t *testing.T) {
	block := docs.Tested(t, "bench/README.md").Next().Text
	for _, program := range []string{"bash", "make"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skipf("skipped: needs %s", program)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", noted+block)
	cmd.Dir = "../../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d commands: %q", len(lines), lines)
	}
	for n, line := range lines {
		args := strings.Split(strings.TrimSuffix(line, "\x00"), "\x00")
		if strings.Join(args[:2], " ") != "run ./cmd/bench" {
			t.Fatalf("%q", args)
		}
		o, err := parse(args[2:])
		if n == 3 {
			if err != flag.ErrHelp {
				t.Errorf("%q: %v", args, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		found := 0
		for _, s := range scenarios.All() {
			if o.run.MatchString(s.Name) {
				found++
			}
		}
		if found == 0 || o.quick != (n == 2) || (n == 1) != (o.rounds == 9) {
			t.Errorf("%q: %+v, %d scenarios", args, o, found)
		}
	}
}
