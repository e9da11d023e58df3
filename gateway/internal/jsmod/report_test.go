package jsmod

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", `export function register(g) {
		g.register('a', () => 1, { schedule: '@hourly', description: 'does a', system: true });
		g.register('b', () => 1, { webhook: { secret: process.env.GONE, signal: { name: 'go' } }, readableName: 'Bee' });
	}`)
	report := m.Report()
	for _, want := range []string{"w.mjs", "sha256 " + m.Hash, "workflows  2", "does a; schedule @hourly; system", "Bee; webhook (signal go) WITHOUT A SECRET"} {
		require.Contains(t, report, want)
	}
}
