package engine

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func TestLimitIsTheConfigurationsOwn(t *testing.T) {
	e := &Engine{opts: Options{MaxConcurrency: 4}}
	three := int64(3)
	launch := Launch{Workflow: "w", By: program.Auth{TriggeredBy: `"maxConcurrency":7`},
		Config: LaunchConfig{MaxConcurrency: &three}, StartedBy: json.RawMessage(`{"maxConcurrency":9}`)}
	def := Definition{Key: `"maxConcurrency":8`}
	config := e.launchConfig(&launch, def, "")
	require.True(t, json.Valid(config))
	require.Equal(t, 3, limitOf(config, 4))
	require.Equal(t, 3, limitOf(withMember(config, "continuation", map[string]int{"iteration": 2}), 4))
	require.Equal(t, 3, limitOf(childConfig(config, def, true), 4))
	for _, without := range []string{``, `{}`, `{"maxConcurrency":0}`, `{"maxConcurrency":-1}`, `{"maxConcurrency":"5"}`, `{"maxConcurrency":99999999999999999999}`} {
		require.Equal(t, 4, limitOf(json.RawMessage(without), 4), without)
	}
}
