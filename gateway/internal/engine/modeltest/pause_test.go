package modeltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// bubble is the clock of package time, which synctest fakes.
type bubble struct{ start time.Time }

func (bubble) Now() time.Time                                   { return time.Now() }
func (bubble) AfterFunc(d time.Duration, f func()) engine.Timer { return time.AfterFunc(d, f) }
func (b bubble) Elapsed() time.Duration                         { return time.Since(b.start) }
func (b bubble) at(ms int64) time.Duration                      { return time.UnixMilli(ms).Sub(b.start) }
func (b bubble) sleepUntil(at time.Duration)                    { time.Sleep(at - b.Elapsed()) }

// TestNoRetryIsLostBesidePauses lets hundreds of runs wait for their second and third
// try, and pauses and resumes each at about the moment at which the wait begins or
// ends. A wake-up that is lost shows in fake time: the run ends minutes later or never.
func TestNoRetryIsLostBesidePauses(t *testing.T) {
	for name, crashes := range map[string][]time.Duration{
		"undisturbed": nil,
		"crashes":     {50 * time.Millisecond, 150 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pausesAndRetries(t, 200, crashes) })
		})
	}
}

func pausesAndRetries(t *testing.T, runs int, crashes []time.Duration) {
	b := bubble{time.Now()}
	h := newHouse(t)
	h.clock = b
	h.open()
	defer h.close()
	var life sync.RWMutex // of the engine
	plan := []step{{Kind: stepTask, Fails: -1, Retries: 2, Backoff: 50}}
	// The waits end after 50 and 150 ms, unless a pause puts that off.
	moments := []int{0, 1, 49, 50, 51, 100, 149, 150, 151}
	gaps := []int{0, 1, 2, 49, 50, 51, 99, 100, 101, 400}
	dice := rand.New(rand.NewPCG(uint64(runs), uint64(len(crashes)))) //nolint:gosec // repeatable
	resumed := make([]time.Duration, runs)
	var wg sync.WaitGroup
	for n := range runs {
		h.must(h.launch(context.Background(), fmt.Sprint("r", n), plan))
	}
	for n := range runs {
		pauseAt := time.Duration(moments[dice.IntN(len(moments))]) * time.Millisecond
		resumeAt := pauseAt + time.Duration(gaps[dice.IntN(len(gaps))])*time.Millisecond
		wg.Go(func() {
			id := fmt.Sprint("r", n)
			b.sleepUntil(pauseAt)
			life.RLock()
			_, _ = h.e.Pause(context.Background(), id, engine.Actor{}) // between two stays in memory it is refused
			life.RUnlock()
			b.sleepUntil(resumeAt)
			for {
				life.RLock()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, err := h.e.Resume(ctx, id, engine.Actor{})
				cancel()
				life.RUnlock()
				if err == nil {
					resumed[n] = b.Elapsed()
					return
				}
				time.Sleep(time.Millisecond) // until it is acknowledged
			}
		})
	}
	for _, at := range crashes {
		b.sleepUntil(at)
		life.Lock()
		h.crash()
		h.open()
		life.Unlock()
	}
	wg.Wait()
	time.Sleep(time.Minute)
	h.must(h.st.View(context.Background(), func(v *store.View) error {
		for n := range runs {
			row, err := v.Run(fmt.Sprint("r", n))
			if err != nil {
				return err
			}
			require.Equal(t, wire.RunFailed, row.Status, "%s, resumed at %s", row.RunID, resumed[n])
			latest := max(resumed[n], 50*time.Millisecond) + 50*time.Millisecond + 100*time.Millisecond
			require.LessOrEqual(t, b.at(row.FinishedAtMs), latest, "%s, resumed at %s", row.RunID, resumed[n])
			require.GreaterOrEqual(t, h.calls(row.RunID, node(0)), 3)
		}
		return nil
	}))
}
