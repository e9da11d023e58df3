package caddymodule

import (
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts this binary under the name smithers-gateway on PATH, where it
// behaves as the real one.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"smithers-gateway": caddycmd.Main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("SMITHERS_TOKEN_STORE", env.WorkDir+"/tokens.json")
			env.Setenv("SMITHERS_DB_PATH", env.WorkDir+"/smithers.db")
			return nil
		},
	})
}
