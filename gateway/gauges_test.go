package gateway

import (
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// Who scrapes Caddy's own metrics during a start or a drain is not told that commits fail.
func TestHealthIsNotKnownWhileNothingRuns(t *testing.T) {
	var g Gateway
	registry := prometheus.NewRegistry()
	registry.MustRegister(liveGauges(&g)...)
	families, err := registry.Gather()
	require.NoError(t, err)
	value := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			value[f.GetName()] = m.GetGauge().GetValue()
		}
	}
	require.True(t, math.IsNaN(value["smithers_gateway_store_healthy"]))
	require.Contains(t, value, "smithers_gateway_up")
	require.Zero(t, value["smithers_gateway_up"])
}
