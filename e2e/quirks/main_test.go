// Package quirks holds a test for each entry of docs/quirks.md that can be seen from
// outside: where the original gateway misbehaves, what this one does instead. Tests
// are named after the entries' numbers.
package quirks

import (
	"os"
	"testing"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
