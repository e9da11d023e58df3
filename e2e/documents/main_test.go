// Package documents runs the blocks of documents that belong to no other test: Caddyfiles,
// the firewall's rules, and commands that take too long to be run whole.
package documents

import (
	"os"
	"testing"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) {
	if os.Getenv(envFirewall) != "" {
		os.Exit(insideFirewall())
	}
	os.Exit(rig.Main(m))
}
