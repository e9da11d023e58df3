package rpc

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// BenchmarkListRuns answers listRuns with as many runs as it shows by default.
func BenchmarkListRuns(b *testing.B) {
	f := newFixture(b)
	for i := range 2 * wire.DefaultListLimit {
		f.insert(b, store.Run{RunID: fmt.Sprintf("run-%032d", i), Version: fmt.Sprintf("%064d", 7), Status: wire.RunRunning,
			CreatedAtMs: int64(i + 1), StartedAtMs: int64(i + 2), HeartbeatAtMs: int64(i + 3), Owner: "pid:1:2026-01-01T00:00:00Z",
			Config: json.RawMessage(`{"gatewaySystem":false,"gatewayWorkflowKey":"w","gatewayTriggeredBy":"operator","maxConcurrency":4}`)})
	}
	call := &Call{Principal: &auth.Principal{Scopes: []string{wire.ScopeRunRead}}, Method: wire.MethodListRuns, Transport: TransportHTTP}
	b.ReportAllocs()
	for b.Loop() {
		if _, failure := f.Dispatch(b.Context(), call); failure != nil {
			b.Fatal(failure)
		}
	}
}
