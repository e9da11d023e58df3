package upstream

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// A source that takes everything and answers nothing is waited for no longer than each
// kind of question is worth.
func TestHungSourceIsNotWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Put(&upstreamtest.Run{ID: "old", Workflow: "deploy", Status: "finished", CreatedAtMs: 1})
		owned, err := f.Owns(t.Context(), "old")
		require.NoError(t, err)
		require.True(t, owned)
		synctest.Wait()
		time.Sleep(2 * refreshPause)
		m.Fail(upstreamtest.Faults{Delay: 1000 * time.Hour})
		took := func(do func()) time.Duration {
			began := time.Now()
			do()
			return time.Since(began)
		}
		require.Equal(t, PartLimit, took(func() {
			_, err := f.CallPart(t.Context(), source.System, "listRuns", nil)
			requireCode(t, err, wire.CodeRequestTimeout)
		}))
		require.Equal(t, PartLimit, took(func() {
			_, err := f.Snapshot(t.Context(), "old")
			require.Error(t, err)
		}))
		require.Equal(t, refreshLimit, took(func() {
			there, err := f.Has(t.Context(), "unknown")
			require.NoError(t, err)
			require.False(t, there)
		}))
		require.Equal(t, readLimit, took(func() { require.Error(t, f.Ready(t.Context(), "old")) }))
	})
}

// So many calls wait for a source that hangs, and no more; none for one that is down.
func TestCallsThatWaitAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Delay: 1000 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		call := func(ctx context.Context) error {
			_, err := f.Call(ctx, source.System, "getUsage", nil)
			return err
		}
		var waiting sync.WaitGroup
		for range maxForwarded {
			waiting.Go(func() { _ = call(ctx) })
		}
		synctest.Wait()
		began := time.Now()
		for name, do := range map[string]func() error{
			"call": func() error { return call(t.Context()) },
			"call about a run": func() error {
				_, err := f.CallRun(t.Context(), source.System, "r", "cancelRun", nil, true)
				return err
			},
			"launch":     func() error { _, err := f.Launch(t.Context(), Launch{Workflow: "deploy"}); return err },
			"unknown id": func() error { _, err := f.Owns(t.Context(), "unknown"); return err },
			"webhook":    func() error { _, err := f.Webhook(t.Context(), "deploy", nil, nil); return err },
		} {
			err := do()
			requireCode(t, err, wire.CodeUnavailable)
			require.ErrorContains(t, err, "Too many calls wait for Smithers", name)
		}
		cancel()
		waiting.Wait()
		m.Fail(upstreamtest.Faults{})
		require.NoError(t, call(t.Context()))

		m.Set(source.Down)
		asked := len(m.Calls("getUsage"))
		requireCode(t, call(t.Context()), wire.CodeUnavailable)
		require.Len(t, m.Calls("getUsage"), asked, "a connection that is left is not used")
		require.Zero(t, time.Since(began))
	})
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var we *wire.Error
	require.ErrorAs(t, err, &we)
	require.Equal(t, code, we.Code)
}

// Connections are given up before Smithers, on node:http, closes them: a request that
// meets the close would have to be answered as one that may have happened.
func TestIdleConnectionsAreGivenUpFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		transport, ok := f.reading().client.Transport.(*http.Transport)
		require.True(t, ok)
		require.Less(t, transport.IdleConnTimeout, 5*time.Second)
	})
}
