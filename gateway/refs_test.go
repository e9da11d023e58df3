package gateway

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host/hosttest"
)

func TestMain(m *testing.M) {
	if hosttest.Main() {
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestRefs(t *testing.T) {
	r := newRefs()
	require.True(t, r.acquire())
	r.close()
	r.close()
	require.False(t, r.acquire())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, r.wait(ctx))
	r.release()
	require.NoError(t, r.wait(t.Context()))

	idle := newRefs()
	idle.close()
	require.NoError(t, idle.wait(t.Context()))
}
