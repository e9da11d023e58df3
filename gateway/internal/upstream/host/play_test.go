package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host/hosttest"
)

// playing returns options with which the test binary is the runtime.
func playing(t *testing.T, roles ...string) Options {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	return Options{
		Module: hosttest.Write(t, dir, roles...), DBPath: filepath.Join(dir, "s.db"), Command: self,
		Env: append(os.Environ(), hosttest.Env+"=1"), Logger: zap.NewNop(), StopGrace: 5 * time.Second,
	}
}
