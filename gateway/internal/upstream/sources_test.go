package upstream

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// A source that is not ready does not offer the workflows of the one before.
func TestWorkflowsGoWithTheirSource(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		require.Len(t, f.Workflows(), 1)
		m.Set(source.Down)
		require.NoError(t, f.Use(t.Context(), m, nil))
		require.Len(t, f.Workflows(), 1, "the same one: it will have them again")
		other := upstreamtest.NewMemory(t, "others")
		defer other.Stop()
		other.Set(source.Down)
		require.NoError(t, f.Use(t.Context(), other, nil))
		require.Empty(t, f.Workflows())
		_, err := f.Has(t.Context(), "deploy")
		require.Error(t, err, "it may have it")
		other.Set(source.Ready)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, "others", f.Workflows()[0].Key)
		f.Retired(m)
		require.Len(t, f.Workflows(), 1)
		f.Retired(other)
		require.Empty(t, f.Workflows())
		require.True(t, f.Active())
		require.False(t, f.Attached())
		there, err := f.Has(t.Context(), "others")
		require.NoError(t, err)
		require.False(t, there)
	})
}

// A launch that was answered is repeated for some minutes when Smithers refuses it for a
// reason that may pass, and fails then.
func TestRefusedLaunchesAreRepeated(t *testing.T) {
	for _, code := range []string{wire.CodeNotFound, wire.CodeRateLimited} {
		for _, passes := range []bool{true, false} {
			inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
				synctest.Wait()
				m.Fail(upstreamtest.Faults{Forget: true})
				_, err := f.Launch(t.Context(), Launch{Workflow: "deploy", RunID: "r"})
				require.NoError(t, err)
				m.Fail(upstreamtest.Faults{RefuseRuns: code})
				time.Sleep(launchWait + refusedWait/2)
				synctest.Wait()
				require.Equal(t, "running", status(t, f, "r"), code)
				require.Greater(t, len(m.Calls("launchRun")), 10)
				if passes {
					m.Fail(upstreamtest.Faults{})
				}
				time.Sleep(refusedWait)
				synctest.Wait()
				require.Equal(t, map[bool]string{true: "running", false: "failed"}[passes], status(t, f, "r"), code)
			})
		}
	}
}
