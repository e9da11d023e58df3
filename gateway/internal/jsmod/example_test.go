package jsmod

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func example(t *testing.T, h *Host, path string) *Module {
	t.Helper()
	b, err := h.Build(context.Background(), filepath.Join("..", "..", "..", "examples", filepath.FromSlash(path)), BuildOptions{})
	require.NoError(t, err)
	m, err := h.Load(context.Background(), *b)
	require.NoError(t, err)
	return m
}

func runExample(t *testing.T, m *Module, key, input string) *driver {
	t.Helper()
	d := newDriver(t, m, key, func(d *driver) { d.input.Input = []byte(input) })
	d.run()
	return d
}

func TestExampleGateway(t *testing.T) {
	m := example(t, testHost(t, HostOptions{}), "gateway.mjs")
	require.Len(t, m.Workflows, 2)
	d := runExample(t, m, "hello", `{"name":"Ada"}`)
	require.Equal(t, map[string]any{"greeting": "Hello, Ada!"}, d.result())
	d = runExample(t, m, "demo", `{}`)
	r := d.result().(map[string]any)
	require.Equal(t, true, r["shipped"])
	require.Equal(t, "bob", r["approvedBy"])
	require.Equal(t, []string{"plan@0", "build@0", "deploy-eu@0 parallel branch", "deploy-us@0 parallel branch", "cool-off@0", "ship-gate@0", "announce@0"}, places(d))
	require.Equal(t, 2, d.attempts[2], "the build fails once")
	require.Equal(t, int64(2000), d.requests[4].Timer.DurationMs)
}

func TestExamplePrimitives(t *testing.T) {
	m := example(t, testHost(t, HostOptions{}), "primitives.mjs")
	for key, want := range map[string]any{
		"wait-for-signal": map[string]any{"received": map[string]any{"signal": "go"}},
		"poll":            map[string]any{"done": true, "round": 2.0},
		"parent":          map[string]any{"child": map[string]any{"workflow": "notify", "input": map[string]any{"text": "done"}}},
		"notify":          map[string]any{},
		"tolerant":        map[string]any{"optional": true, "good": 1.0, "bad": "no"},
		"counter":         map[string]any{"runs": 1.0},
	} {
		require.Equal(t, want, runExample(t, m, key, `{}`).result(), key)
	}
	require.JSONEq(t, `{"left":1}`, string(runExample(t, m, "generations", `{}`).done.Continue))
	require.Equal(t, map[string]any{"finished": true}, runExample(t, m, "generations", `{"left":0}`).result())
	d := newDriver(t, m, "wait-for-signal", func(d *driver) {
		d.answer = func(r *program.Request) (any, *program.Failure, bool) {
			return nil, &program.Failure{Message: "late", Code: program.CodeSignalTimeout}, true
		}
	})
	d.run()
	require.Equal(t, map[string]any{"received": nil}, d.result())
}

func TestExampleTypeScript(t *testing.T) {
	m := example(t, testHost(t, HostOptions{}), "typescript/gateway.ts")
	require.Equal(t, map[string]any{"warmest": "Oslo", "mean": 16.0}, runExample(t, m, "weather", `{}`).result())
}
