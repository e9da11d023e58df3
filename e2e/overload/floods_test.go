package overload

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// many calls do n times, so many at once, and counts the outcomes by error code ("" is
// success).
func (h *house) many(n, atOnce int, do func(i int) error) map[string]int {
	h.t.Helper()
	outcomes := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	work := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range work {
				err := do(i)
				code := ""
				if err != nil {
					code = err.Error()
					var refused *client.Error
					if asClientError(err, &refused) {
						code = refused.Code
					}
				}
				mu.Lock()
				outcomes[code]++
				mu.Unlock()
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	return outcomes
}

func (h *house) launch(workflow, id string) error {
	return h.p.Call(h.t.Context(), "launchRun", map[string]any{"workflow": workflow, "runId": id, "input": map[string]any{}}, nil)
}

func TestFloodOfSubscriptions(t *testing.T) {
	h := newHouse(t, "streams_per_user 100")
	h.p.LaunchRun("waits", "waiting", map[string]any{})
	h.beside(func() {
		outcomes := h.many(200, 8, func(int) error {
			s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
			if err != nil {
				return err
			}
			t.Cleanup(s.Cut)
			_, err = s.Stream(t.Context(), "waiting", nil)
			return err
		})
		require.Equal(t, map[string]int{"": 100, "RateLimited": 100}, outcomes, "100 streams of one user")
	})
	h.leave()
	h = newHouse(t, "")
	h.p.LaunchRun("waits", "waiting", map[string]any{})
	s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
	require.NoError(t, err)
	defer s.Cut()
	outcomes := h.many(50, 1, func(int) error {
		_, err := s.Stream(t.Context(), "waiting", nil)
		return err
	})
	require.Equal(t, map[string]int{"": 8, "RateLimited": 42}, outcomes, "8 streams of one socket")
}

// TestFloodOfRuns launches more than there is room for.
func TestFloodOfRuns(t *testing.T) {
	n := rig.Count(t, "FLOOD_RUNS", 1_500)
	h := newHouse(t, "max_queued_runs 300")
	h.beside(func() {
		outcomes := h.many(n, 64, func(i int) error { return h.launch("busy", fmt.Sprintf("flood-%05d", i)) })
		t.Logf("%v", outcomes)
		require.Positive(t, outcomes["RateLimited"], "no more than 300 runs of one user wait")
		require.Equal(t, n, outcomes[""]+outcomes["RateLimited"], "nothing else happens")
		err := h.launch("busy", "one-more")
		for i := 0; err == nil && i < 1_000; i++ {
			err = h.launch("busy", fmt.Sprintf("one-more-%d", i))
		}
		require.ErrorContains(t, err, "max_queued_runs")
		require.Equal(t, 429, err.(*client.Error).Status) //nolint:errorlint // as returned
	})
}

func TestFloodOfSignals(t *testing.T) {
	h := newHouse(t, "")
	h.p.LaunchRun("waits", "waiting", map[string]any{})
	h.p.Status("waiting", "waiting-event")
	h.beside(func() {
		outcomes := h.many(3_000, 64, func(i int) error {
			return h.p.Call(t.Context(), "submitSignal", map[string]any{"runId": "waiting", "signalName": "noise", "data": map[string]any{"i": i}}, nil)
		})
		require.Equal(t, map[string]int{"": 1_000, "QUOTA_EXCEEDED": 2_000}, outcomes, "1,000 signals that nothing has taken")
	})
	h.p.LaunchRun("waits", "heavy", map[string]any{})
	payload := map[string]any{}
	for i := range 60 {
		payload[fmt.Sprint(i)] = fmt.Sprintf("%016000d", i)
	}
	outcomes := h.many(40, 8, func(int) error {
		return h.p.Call(t.Context(), "submitSignal", map[string]any{"runId": "heavy", "signalName": "noise", "data": payload}, nil)
	})
	require.Equal(t, 40, outcomes[""]+outcomes["QUOTA_EXCEEDED"], "%v", outcomes)
	require.LessOrEqual(t, outcomes[""], 18, "16 MiB of them")
}

// TestGuessedTokens: an address that guesses is told to wait, and whoever else comes
// from there with a valid token is not.
func TestGuessedTokens(t *testing.T) {
	h := newHouse(t, "max_auth_failures 20")
	guesser := *h.p.Client
	guesser.Token = "guess"
	h.beside(func() {
		begin := time.Now()
		outcomes := h.many(2_000, 32, func(int) error { return guesser.Call(t.Context(), "listRuns", nil, nil) })
		t.Logf("%v", outcomes)
		require.Equal(t, 2_000, outcomes["UNAUTHORIZED"]+outcomes["RateLimited"])
		later := int(time.Since(begin) / (3 * time.Second))
		require.Less(t, outcomes["UNAUTHORIZED"], 60+later, "20 at once and 20 a minute; 32 ask at the same time")
		rig.Wait(t, "sockets to be told, too", func() bool { // one more failure is allowed each three seconds
			_, err := guesser.Dial(t.Context(), client.DialOptions{})
			return client.IsCode(err, "RateLimited")
		})
		require.NoError(t, h.p.Call(t.Context(), "listRuns", nil, nil), "same address, valid token")
		s, err := h.p.Client.Dial(t.Context(), client.DialOptions{})
		require.NoError(t, err)
		s.Cut()
	})
	require.Positive(t, h.metric(`smithers_gateway_auth_events_total{mode="token",outcome="throttled",transport="http"}`))
}
