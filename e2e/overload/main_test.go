// Package overload attacks a gateway from one address while a well-behaved client works
// from another one, and holds that every attack meets a bound with a clear error and
// that the client keeps its service.
package overload

import (
	_ "embed"
	"fmt"
	"os"
	"testing"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

//go:embed gateway.mjs
var module string

// config has short times and small numbers, so that bounds are met soon.
const config = `{
	admin unix/%s
	persist_config off
	grace_period 5s
	servers {
		timeouts {
			read_header 3s
		}
	}
}
http://127.0.0.1:%d {
	smithers {
		db_path %s
		token_store %s
		module %s
		public_metrics on
		request_timeout 3s
		auth_deadline 3s
		write_timeout 3s
		vm_time 1s
		vm_memory 16MiB
		vm_memory_total 256MiB
		max_vms 16
		%s
	}
}
`

// house is a gateway under attack, with the client that must not suffer.
type house struct {
	t      *testing.T
	s      *rig.Site
	p      *rig.Process // calls as the attacker, who has a token too
	good   *neighbour
	before *service // of the neighbour; nil: not measured yet
}

func newHouse(t *testing.T, extra string) *house {
	t.Helper()
	s := rig.NewSite(t, module)
	h := &house{t: t, s: s}
	file := s.Write("Caddyfile", fmt.Sprintf(config, s.AdminSocket(), s.Port, s.DB, s.Path("tokens.json"), s.Module, extra))
	mallory, alice := s.Issue(rig.AllScopes, "mallory"), s.Issue(rig.AllScopes, "alice")
	h.p = s.Start("run", "--config", file).As(mallory).Accepts()
	h.p.Client = clientFrom(s, mallory, attackerAddress)
	h.good = newNeighbour(t, s, alice)
	return h
}
