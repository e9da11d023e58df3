package overload

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func asClientError(err error, to **client.Error) bool { return errors.As(err, to) }

// fails waits for runs to fail and holds that their errors say why.
func (h *house) fails(workflow string, runs int, codes ...string) {
	h.t.Helper()
	for i := range runs {
		require.NoError(h.t, h.launch(workflow, fmt.Sprintf("%s-%d", workflow, i)))
	}
	for i := range runs {
		run := h.p.Status(fmt.Sprintf("%s-%d", workflow, i), "failed")
		text := rig.Text(run.ErrorJSON)
		found := false
		for _, code := range codes {
			found = found || strings.Contains(text, code)
		}
		require.True(h.t, found, "%s failed with %s, not with %v", workflow, text, codes)
	}
}

type hostile struct {
	workflow string
	runs     int
	codes    []string
}

// TestHostileWorkflows runs several of each kind beside the well-behaved client, whose
// own runs need the same script engine. Only what computes for ever is given little time:
// others must have enough on any machine to reach the bound that is theirs.
func TestHostileWorkflows(t *testing.T) {
	tooLong := []string{"TIME_LIMIT", "WORKFLOW_ABANDONED"} // on a busy machine an interrupt may be heeded late
	for extra, kinds := range map[string][]hostile{
		"vm_time 1s": {
			{"loops", 8, tooLong},
			{"loops-outside", 8, tooLong},
			{"swallows", 4, tooLong},
			{"prints", 4, tooLong},
		},
		"vm_time 2m\nmax_run_events 2000": {
			{"allocates", 8, []string{"MEMORY_LIMIT", "out of memory"}},
			{"logs", 4, []string{"RUN_EVENT_LIMIT"}},
			{"nodes", 1, []string{"RUN_EVENT_LIMIT", "continueAsNew"}},
			{"nests", 2, []string{"CHILD_RUN_FAILED"}},
			{"never-heartbeats", 4, []string{"HEARTBEAT", "heartbeat"}},
			{"never-ends", 4, []string{"TIMEOUT", "imeout", "timed out"}},
			{"never-asks", 4, []string{"WORKFLOW_STALLED"}},
		},
	} {
		h := newHouse(t, extra)
		for _, k := range kinds {
			t.Run(k.workflow, func(t *testing.T) {
				h := h.in(t)
				h.beside(func() { h.fails(k.workflow, k.runs, k.codes...) })
			})
		}
		require.Less(t, h.p.Usage().RSS, int64(1<<30))
		require.Less(t, len(h.p.Log.String()), 16<<20, "the log has a bound, too")
		h.leave()
	}
}

// TestRunsThatMultiply: every run launches eight more of itself.
func TestRunsThatMultiply(t *testing.T) {
	h := newHouse(t, "max_queued_runs 200")
	h.beside(func() {
		require.NoError(t, h.launch("spawns", "bomb"))
		h.p.Wait("the queue to be full", func() bool { return h.metric("smithers_gateway_runs_queued") >= 150 })
		require.NoError(t, h.p.Call(t.Context(), "cancelRun", map[string]any{"runId": "bomb"}, nil))
	})
	h.p.Wait("the family to be gone", func() bool { return h.metric("smithers_gateway_runs_queued") == 0 })
}

// TestMachinesThatCannotBeStopped: a built-in function that sees no interrupt is given
// up, said so, and the process goes on.
func TestMachinesThatCannotBeStopped(t *testing.T) {
	h := newHouse(t, "max_abandoned_vms 4")
	h.beside(func() {
		// How long the function takes is the machine's affair: grow until it takes too long.
		for size := 40_000_000; !h.givenUp(size, 2); size *= 2 {
			require.Less(t, size, 1<<50, "no function was given up")
		}
		_, health, err := h.p.Get(t.Context(), "/health")
		require.NoError(t, err)
		if h.metric("smithers_gateway_vms_abandoned") > 0 {
			require.Contains(t, string(health), "could not be stopped")
		}
		require.Contains(t, h.p.Log.String(), "does not stop computing and was given up")
	})
	h.p.Wait("the functions to end by themselves", func() bool { return h.metric("smithers_gateway_vms_abandoned") == 0 })
}

// givenUp runs the workflow that ignores interrupts and reports whether all of its runs
// ended because their machines were given up. Functions that end before that do so
// in time or too late.
func (h *house) givenUp(size, runs int) bool {
	h.t.Helper()
	id := func(i int) string { return fmt.Sprintf("ignores-%d-%d", size, i) }
	for i := range runs {
		h.p.LaunchRun("ignores", id(i), map[string]any{"size": size})
	}
	all := true
	for i := range runs {
		var run *client.Run
		h.p.Wait("run "+id(i)+" to end", func() bool {
			var err error
			run, err = h.p.Run(h.t.Context(), id(i))
			return err == nil && run.Ended()
		})
		switch text := rig.Text(run.ErrorJSON); {
		case strings.Contains(text, "WORKFLOW_ABANDONED"):
		case run.Status == "finished", strings.Contains(text, "WORKFLOW_TIME_LIMIT"):
			all = false
		default:
			h.t.Fatalf("run %s is %s: %s", id(i), run.Status, text)
		}
	}
	return all
}
