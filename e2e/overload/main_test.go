// Package overload attacks a gateway from one address while a well-behaved client works
// from another one, and holds that every attack meets a bound with a clear error and
// that the client keeps its service.
package overload

import (
	_ "embed"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

//go:embed gateway.mjs
var module string

// config has small numbers, so that bounds are met soon.
const config = `{
	admin unix/%s
	persist_config off
	grace_period 5s
	servers {
		timeouts {
			read_header %s
		}
	}
}
http://127.0.0.1:%d {
	smithers {
		db_path %s
		token_store %s
		module %s
		public_metrics on
		vm_memory 16MiB
		vm_memory_total 256MiB
		max_vms 16
		%s
	}
}
`

// hasty are short times, for tests of what takes too long. The others have the usual
// ones, which a busy machine keeps.
const hasty = `request_timeout 3s
		auth_deadline 3s
		write_timeout 3s`

// house is a gateway under attack, with the client that must not suffer.
type house struct {
	t    *testing.T
	s    *rig.Site
	p    *rig.Process // calls as the attacker, who has a token too
	good *neighbour
}

func newHouse(t *testing.T, extra string) *house {
	t.Helper()
	s := rig.NewSite(t, module)
	h := &house{t: t, s: s}
	readHeader := "1m"
	if strings.Contains(extra, hasty) {
		readHeader = "3s"
	}
	file := s.Write("Caddyfile", fmt.Sprintf(config, s.AdminSocket(), readHeader, s.Port, s.DB, s.Path("tokens.json"), s.Module, extra))
	mallory, alice := s.Issue(rig.AllScopes, "mallory"), s.Issue(rig.AllScopes, "alice")
	h.p = s.Start("run", "--config", file).As(mallory).Accepts()
	h.p.Client = clientFrom(s, mallory, attackerAddress)
	h.good = newNeighbour(t, s, alice)
	return h
}

// in is the house as a subtest sees it.
func (h *house) in(t *testing.T) *house {
	inner, p := *h, *h.p
	p.T, inner.t, inner.p = t, t, &p
	return &inner
}

// leave ends the house before the test does, to make room for another.
func (h *house) leave() {
	h.good.stop()
	h.good.wg.Wait()
	h.p.Kill()
}
