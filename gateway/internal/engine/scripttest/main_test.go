// Package scripttest runs JavaScript workflows on the real engine, script host and
// store, and keeps what their runs log.
package scripttest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
)

var update = flag.Bool("update", false, "write the golden files")

// scripts is shared by all tests: starting a host costs more than most runs.
var (
	scripts *jsmod.Host
	outside *world
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	outside = newWorld()
	scripts, err = jsmod.NewHost(jsmod.HostOptions{Env: map[string]string{"WORLD": outside.url()}})
	if err != nil {
		return 1, err
	}
	code = m.Run()
	scripts.Close()
	outside.close()
	if code == 0 {
		err = goleak.Find()
	}
	return code, err
}

// module loads a module of testdata.
func module(t testing.TB, name string) []engine.Definition {
	t.Helper()
	b, err := scripts.Build(context.Background(), filepath.Join("testdata", name), jsmod.BuildOptions{})
	require.NoError(t, err)
	m, err := scripts.Load(context.Background(), *b)
	require.NoError(t, err)
	t.Cleanup(m.Close)
	defs := make([]engine.Definition, len(m.Workflows))
	for i, w := range m.Workflows {
		defs[i] = engine.Definition{Key: w.Key, Version: m.Hash, Program: w.Program}
	}
	return defs
}
