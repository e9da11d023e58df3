package cron

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// clock is a clock that only the test moves.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]time.Time
}

type timer struct {
	c *clock
	f func()
}

func newClock(at string) *clock {
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		panic(err)
	}
	return &clock{now: now, timers: map[*timer]time.Time{}}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) AfterFunc(d time.Duration, f func()) engine.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c, f}
	c.timers[t] = c.now.Add(d)
	return t
}

func (t *timer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, pending := t.c.timers[t]
	delete(t.c.timers, t)
	return pending
}

// next moves to the earliest timer and fires it, unless that is after limit.
func (c *clock) next(limit time.Time) bool {
	c.mu.Lock()
	var first *timer
	for t, at := range c.timers {
		if !at.After(limit) && (first == nil || at.Before(c.timers[first])) {
			first = t
		}
	}
	if first == nil {
		c.now = limit
		c.mu.Unlock()
		return false
	}
	if at := c.timers[first]; at.After(c.now) {
		c.now = at
	}
	delete(c.timers, first)
	c.mu.Unlock()
	first.f()
	return true
}

// world is a database with an engine and a scheduler on it.
type world struct {
	t      *testing.T
	dir    string
	clock  *clock
	store  *store.Store
	engine *engine.Engine
	sched  *Scheduler
}

func definition(key, pattern string) engine.Definition {
	return engine.Definition{Key: key, Schedule: pattern, TimeZone: "UTC",
		Program: gomachine.New(workflow.Func(func(workflow.Context) (any, error) { return nil, nil }))}
}

func open(t *testing.T, dir string, c *clock, launcher func(Launcher) Launcher, defs ...engine.Definition) *world {
	w := &world{t: t, dir: dir, clock: c}
	var err error
	w.store, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "test.db"), Durability: "normal", Now: c.Now})
	require.NoError(t, err)
	w.engine = engine.New(engine.Options{Store: w.store, Owner: "test"}) // on the real clock: runs are not what is tested
	w.engine.SetWorkflows(defs)
	require.NoError(t, w.engine.Start(t.Context()))
	var l Launcher = w.engine
	if launcher != nil {
		l = launcher(l)
	}
	w.sched = New(Options{Store: w.store, Engine: l, Clock: c})
	w.sched.Sync(defs)
	w.sched.Start()
	w.settle()
	return w
}

func (w *world) close() {
	w.sched.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, w.engine.Stop(ctx))
	require.NoError(w.t, w.store.Close())
}

// settle waits until the scheduler has looked at everything.
func (w *world) settle() {
	require.NoError(w.t, w.store.Update(context.Background(), func(*store.Tx) error { return nil })) // behind a Sync
	require.Eventually(w.t, func() bool {
		w.sched.mu.Lock()
		defer w.sched.mu.Unlock()
		return !w.sched.busy
	}, time.Minute, time.Millisecond)
}

// advance lets time pass, timer by timer.
func (w *world) advance(d time.Duration) {
	limit := w.clock.Now().Add(d)
	for w.clock.next(limit) {
		w.settle()
	}
}

// ticks are the times of the runs that schedules launched, with their workflows.
func (w *world) ticks() (all []string) {
	require.NoError(w.t, w.store.View(context.Background(), func(v *store.View) error {
		runs, err := v.Runs(store.RunFilter{})
		for _, run := range runs {
			require.Equal(w.t, "cron", run.Source)
			all = append([]string{run.WorkflowKey}, all...)
		}
		return err
	}))
	return all
}

func (w *world) cron(id string) *store.Cron {
	var row *store.Cron
	require.NoError(w.t, w.store.View(context.Background(), func(v *store.View) (err error) {
		row, err = v.Cron(id)
		return err
	}))
	return row
}

func (w *world) change(id string, change func(*store.Cron)) {
	require.NoError(w.t, w.store.Update(context.Background(), func(tx *store.Tx) error {
		row, err := tx.Cron(id)
		if err != nil {
			return err
		}
		change(row)
		return tx.PutCron(row)
	}))
	w.sched.Changed()
	w.settle()
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05.000") }

func TestFiresExactlyAndAnnounces(t *testing.T) {
	w := open(t, t.TempDir(), newClock("2026-01-01T00:00:00Z"), nil, definition("tick", "*/10 * * * *"), definition("none", ""))
	defer w.close()
	require.Equal(t, "00:10:00.000", at(w.cron("gateway:tick").NextRunAtMs))
	w.advance(10*time.Minute - time.Millisecond)
	require.Empty(t, w.ticks())
	w.advance(time.Millisecond)
	require.Equal(t, []string{"tick"}, w.ticks())
	row := w.cron("gateway:tick")
	require.Equal(t, "00:10:00.000", at(row.LastRunAtMs), "not a sweep later (Q50)")
	require.Equal(t, "00:20:00.000", at(row.NextRunAtMs))
	w.advance(time.Hour)
	require.Len(t, w.ticks(), 7)

	require.NoError(t, w.store.View(t.Context(), func(v *store.View) error {
		runs, err := v.Runs(store.RunFilter{Limit: 1})
		require.NoError(t, err)
		events, err := w.store.EventsAfterSeq(t.Context(), runs[0].RunID, 0, 1)
		require.NoError(t, err)
		require.NotZero(t, events.Len())
		var first store.Event
		events.Event(0, &first)
		require.Equal(t, wire.EventCronTriggered, first.Name)
		require.EqualValues(t, 1, first.Seq)
		require.JSONEq(t, fmt.Sprintf(`{"runId":%q,"cronId":"gateway:tick","workflow":"tick"}`, runs[0].RunID), string(first.Payload))
		require.Contains(t, string(runs[0].CreatedBy), `"triggeredBy":"cron:gateway"`)
		require.Contains(t, string(runs[0].CreatedBy), `"role":"system"`)
		return nil
	}))
}

func TestSecondsAndTwoSchedules(t *testing.T) {
	w := open(t, t.TempDir(), newClock("2026-01-01T00:00:00Z"), nil, definition("a", "*/2 * * * * *"), definition("b", "*/3 * * * * *"))
	defer w.close()
	w.advance(6 * time.Second)
	require.ElementsMatch(t, []string{"a", "a", "a", "b", "b"}, w.ticks())
}

func TestOneMissedTickAfterARestart(t *testing.T) {
	dir, c := t.TempDir(), newClock("2026-01-01T00:00:00Z")
	w := open(t, dir, c, nil, definition("tick", "0 * * * *"))
	w.advance(time.Hour)
	require.Len(t, w.ticks(), 1)
	w.close()
	c.mu.Lock()
	c.now = c.now.Add(5*time.Hour + 30*time.Minute) // five ticks pass
	c.mu.Unlock()
	w = open(t, dir, c, nil, definition("tick", "0 * * * *"))
	defer w.close()
	require.Len(t, w.ticks(), 2, "made up for by one run, at once")
	require.Equal(t, "07:00:00.000", at(w.cron("gateway:tick").NextRunAtMs))
	w.advance(30 * time.Minute)
	require.Len(t, w.ticks(), 3)
}

func TestOperatorChangesStay(t *testing.T) {
	dir, c := t.TempDir(), newClock("2026-01-01T00:00:00Z")
	defs := []engine.Definition{definition("off", "* * * * *"), definition("moved", "* * * * *"), definition("gone", "* * * * *"), definition("own", "0 0 1 1 *")}
	w := open(t, dir, c, nil, defs...)
	w.change("gateway:off", func(r *store.Cron) { r.Enabled, r.Changed = false, true })
	w.change("gateway:moved", func(r *store.Cron) { r.Pattern, r.Changed = "0 5 * * *", true })
	w.change("gateway:gone", func(r *store.Cron) { r.Removed, r.Changed = true, true })
	w.close()
	defs[3].Schedule = "0 0 2 1 *" // the module's own change
	w = open(t, dir, c, nil, defs...)
	defer w.close()
	require.False(t, w.cron("gateway:off").Enabled)
	require.Equal(t, "0 5 * * *", w.cron("gateway:moved").Pattern)
	require.True(t, w.cron("gateway:gone").Removed)
	require.Equal(t, "0 0 2 1 *", w.cron("gateway:own").Pattern)
	require.Equal(t, "2026-01-02", time.UnixMilli(w.cron("gateway:own").NextRunAtMs).UTC().Format(time.DateOnly))
	w.advance(time.Second * 30)
	require.Empty(t, w.ticks())
}

func TestSchedulesRestWithTheirWorkflow(t *testing.T) {
	dir, c := t.TempDir(), newClock("2026-01-01T00:00:00Z")
	w := open(t, dir, c, nil, definition("tick", "* * * * *"))
	w.close()
	w = open(t, dir, c, nil) // the module is not there
	w.advance(10 * time.Minute)
	require.Empty(t, w.ticks())
	require.True(t, w.cron("gateway:tick").Idle)
	w.engine.SetWorkflows([]engine.Definition{definition("tick", "* * * * *")})
	w.sched.Sync([]engine.Definition{definition("tick", "* * * * *")})
	w.settle()
	require.Len(t, w.ticks(), 1, "back again, with what was due")

	w.sched.Sync([]engine.Definition{definition("tick", "")})
	w.settle()
	require.NoError(t, w.store.View(t.Context(), func(v *store.View) error {
		_, err := v.Cron("gateway:tick")
		require.ErrorIs(t, err, store.ErrNotFound, "the workflow has no schedule any more")
		return nil
	}))
	w.close()
}

func TestUnknownWorkflowIsTriedAgain(t *testing.T) {
	w := open(t, t.TempDir(), newClock("2026-01-01T00:00:00Z"), nil)
	defer w.close()
	require.NoError(t, w.store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutCron(&store.Cron{CronID: "c", WorkflowKey: "later", Pattern: "0 * * * *", Enabled: true, NextRunAtMs: w.sched.nowMs()})
	}))
	w.sched.Changed()
	w.settle()
	require.Equal(t, "Unknown workflow: later", w.cron("c").Error)
	require.Equal(t, "00:01:00.000", at(w.cron("c").NextRunAtMs))
	w.engine.SetWorkflows([]engine.Definition{definition("later", "")})
	w.advance(time.Minute)
	require.Equal(t, []string{"later"}, w.ticks())
	require.Empty(t, w.cron("c").Error)
	require.Equal(t, "01:00:00.000", at(w.cron("c").NextRunAtMs))
}

// flaky fails launches as a storage that is away does.
type flaky struct {
	Launcher
	mu   sync.Mutex
	left int
}

func (f *flaky) Launch(ctx context.Context, l engine.Launch) (engine.Launched, error) {
	f.mu.Lock()
	fail := f.left > 0
	f.left--
	f.mu.Unlock()
	if fail {
		return engine.Launched{}, wire.Errorf(wire.CodeStorageUnavailable, "away")
	}
	return f.Launcher.Launch(ctx, l)
}

func TestStorageOutagePutsTheTickOff(t *testing.T) {
	w := open(t, t.TempDir(), newClock("2026-01-01T00:00:00Z"), func(l Launcher) Launcher { return &flaky{Launcher: l, left: 3} },
		definition("tick", "0 * * * *"))
	defer w.close()
	w.advance(time.Hour)
	require.Empty(t, w.ticks())
	w.advance(3 * storageWait)
	require.Equal(t, []string{"tick"}, w.ticks())
	require.Equal(t, "02:00:00.000", at(w.cron("gateway:tick").NextRunAtMs))
}

// Two schedulers on one database, and rows that change between look and claim: no
// tick fires twice.
func TestNoDoubleFire(t *testing.T) {
	c := newClock("2026-01-01T00:00:00Z")
	w := open(t, t.TempDir(), c, nil, definition("tick", "* * * * *"))
	defer w.close()
	other := New(Options{Store: w.store, Engine: w.engine, Clock: c})
	other.Start()
	defer other.Stop()
	for range 5 {
		w.advance(time.Minute)
		require.Eventually(t, func() bool { other.mu.Lock(); defer other.mu.Unlock(); return !other.busy }, time.Minute, time.Millisecond)
	}
	require.Len(t, w.ticks(), 5)

	stale := w.cron("gateway:tick")
	w.change("gateway:tick", func(r *store.Cron) { r.Enabled = false })
	require.NoError(t, w.sched.trigger(t.Context(), stale))
	require.Len(t, w.ticks(), 5, "switched off after it was found due")
}

func TestPatternThatIsOver(t *testing.T) {
	w := open(t, t.TempDir(), newClock("2026-01-01T00:00:00Z"), nil, definition("once", "0 0 1 1 1 * 2026"))
	defer w.close()
	w.advance(2 * time.Hour)
	require.Equal(t, []string{"once"}, w.ticks())
	require.Zero(t, w.cron("gateway:once").NextRunAtMs)
}

func TestStopIsFinal(t *testing.T) {
	c := newClock("2026-01-01T00:00:00Z")
	w := open(t, t.TempDir(), c, nil, definition("tick", "* * * * *"))
	w.sched.Stop()
	w.sched.Changed()
	c.next(c.Now().Add(time.Hour))
	require.Empty(t, w.ticks())
	w.close()
}
