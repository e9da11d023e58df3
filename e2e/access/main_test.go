// Package access holds from outside that secrets stay secret and that nobody gets where
// they may not.
package access

import (
	"os"
	"testing"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }
