package jsmod

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneTask(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `return { got: await ctx.task('a', async () => ({ n: 1 })) };`)
	require.Equal(t, map[string]any{"got": map[string]any{"n": 1.0}}, d.result())
	require.Len(t, d.requests, 1)
}
