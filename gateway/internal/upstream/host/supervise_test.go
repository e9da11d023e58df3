package host

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// fake is a process in fake time.
type fake struct {
	pid     int
	reports chan report
	ended   chan struct{}
	err     error
	memory  atomic.Int64
	polite  bool // ends when it is asked to
	over    atomic.Bool
	told    chan command
}

func (f *fake) PID() int                { return f.pid }
func (f *fake) Reports() <-chan report  { return f.reports }
func (f *fake) Ended() <-chan struct{}  { return f.ended }
func (f *fake) Err() error              { return f.err }
func (f *fake) Command(c command) error { f.told <- c; return nil }
func (f *fake) Memory() int64           { return f.memory.Load() }
func (f *fake) Kill()                   { f.end(errors.New("killed")) }
func (f *fake) Terminate() {
	if f.polite {
		f.end(errors.New("terminated"))
	}
}

func (f *fake) end(err error) {
	if f.over.CompareAndSwap(false, true) {
		f.err = err
		close(f.reports)
		close(f.ended)
	}
}

// house is a Host whose processes are fakes.
type house struct {
	*Host
	born  chan *fake
	sick  atomic.Bool // the health endpoint does not answer
	wrong atomic.Pointer[report]
}

func newHouse(t *testing.T, o Options) *house {
	t.Helper()
	dir := t.TempDir()
	o.Module, o.DBPath = filepath.Join(dir, "m.mjs"), filepath.Join(dir, "s.db")
	o, err := o.withDefaults()
	require.NoError(t, err)
	w := &house{born: make(chan *fake, 100)}
	w.Host = &Host{opts: o, folder: filepath.Join(dir, "f"), requests: make(chan command, 8), retire: make(chan struct{}), done: make(chan struct{}),
		output: &output{log: o.Logger}}
	pid := 0
	w.Host.spawn = func(launchSpec, *output) (child, error) {
		pid++
		f := &fake{pid: pid, reports: make(chan report, 16), ended: make(chan struct{}), polite: true, told: make(chan command, 8)}
		if r := w.wrong.Load(); r != nil {
			f.reports <- *r
		} else {
			f.reports <- report{Type: reportReady}
		}
		w.born <- f
		return f, nil
	}
	w.Host.probe = func(ctx context.Context) error {
		if !w.sick.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	return w
}

func (w *house) start(t *testing.T) *fake {
	t.Helper()
	p, err := w.launch(t.Context(), config{})
	require.NoError(t, err)
	w.begin(p)
	return <-w.born
}

func TestPausesGrowAndBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		p := w.start(t)
		var pauses []time.Duration
		for range 9 { // a crash loop: each is ready and serves for a while, not long enough
			time.Sleep(steadyAfter - time.Millisecond)
			p.end(errors.New("crash"))
			at := time.Now()
			p = <-w.born
			pauses = append(pauses, time.Since(at))
			synctest.Wait()
			require.Equal(t, source.Ready, w.Status().State)
		}
		for i, pause := range pauses {
			full := min(backoffMost, backoffFirst<<i)
			require.GreaterOrEqual(t, pause, full*3/4, "pause %d", i)
			require.LessOrEqual(t, pause, full*5/4, "pause %d", i)
		}
		for range 50 {
			time.Sleep(steadyAfter)
			p.end(errors.New("crash"))
			at := time.Now()
			p = <-w.born
			require.LessOrEqual(t, time.Since(at), backoffFirst*5/4, "a process that lasted is forgiven, however often")
			synctest.Wait()
		}
		require.Equal(t, 59, w.Status().Restarts)
		w.Stop()
	})
}

func TestStatusWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		p := w.start(t)
		w.wrong.Store(&report{Type: reportFailed, Stage: "module", Message: "boom"})
		p.end(errors.New("crash"))
		synctest.Wait()
		s := w.Status()
		require.Equal(t, source.Down, s.State)
		require.ErrorContains(t, s.Err, "crash")
		require.Equal(t, 0, s.PID)
		require.True(t, s.RetryAt.After(time.Now()))
		_, err := w.Dial(t.Context())
		require.ErrorIs(t, err, source.ErrDown)

		time.Sleep(10 * time.Second) // several failed starts
		synctest.Wait()
		require.ErrorIs(t, w.Status().Err, ErrModule)
		w.wrong.Store(nil)
		time.Sleep(backoffMost * 5 / 4)
		synctest.Wait()
		require.Equal(t, source.Ready, w.Status().State)
		require.NoError(t, w.Status().Err)
		w.Stop()
	})
}

func TestSilentProcessIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		p := w.start(t)
		w.sick.Store(true)
		time.Sleep(DefaultProbeLimit - time.Second)
		require.False(t, p.over.Load(), "a short silence is borne")
		<-p.ended
		synctest.Wait()
		require.ErrorContains(t, w.Status().Err, "has not answered")
		w.sick.Store(false)
		<-w.born
		w.Stop()
	})
}

func TestMemoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{MemoryLimit: 100 << 20})
		p := w.start(t)
		p.memory.Store(100 << 20)
		time.Sleep(2 * DefaultProbeEvery)
		require.False(t, p.over.Load())
		require.EqualValues(t, 100<<20, w.Status().RSS)
		p.memory.Store(101 << 20)
		<-p.ended
		synctest.Wait()
		require.ErrorContains(t, w.Status().Err, "101 MiB of memory, more than runtime_memory allows (100 MiB)")
		<-w.born
		w.Stop()
	})
}

// A process that grows while it does not answer, or by far too much, is not asked to end.
func TestGrowingProcessIsKilledAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		sick bool
		size int64
	}{"hangs": {true, 101 << 20}, "far too large": {false, 151 << 20}} {
		synctest.Test(t, func(t *testing.T) {
			w := newHouse(t, Options{MemoryLimit: 100 << 20})
			p := w.start(t)
			p.polite = false
			w.sick.Store(c.sick)
			time.Sleep(3*DefaultProbeEvery + time.Second)
			p.memory.Store(c.size)
			at := time.Now()
			<-p.ended
			require.Less(t, time.Since(at), 2*DefaultProbeEvery, name)
			synctest.Wait()
			require.ErrorContains(t, w.Status().Err, "more than runtime_memory allows")
			w.sick.Store(false)
			<-w.born
			w.Stop()
		})
	}
}

func TestStopWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		w.start(t).end(errors.New("crash"))
		synctest.Wait()
		w.Stop()
		w.Stop()
		require.Equal(t, source.Stopped, w.Status().State)
	})
}

func TestRudeProcessIsKilledAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		p := w.start(t)
		p.polite = false
		at := time.Now()
		w.Stop()
		require.Equal(t, DefaultStopGrace, time.Since(at))
	})
}

func TestRetiringProcessThatEndsIsNotStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retired := make(chan struct{})
		w := newHouse(t, Options{Retired: func() { close(retired) }})
		p := w.start(t)
		w.Retire()
		require.Equal(t, commandRetire, <-p.told)
		p.reports <- report{Type: reportBusy, Runs: 3}
		synctest.Wait()
		require.False(t, p.over.Load(), "three runs are still at work")
		p.end(errors.New("crash"))
		<-retired
		require.Equal(t, source.Stopped, w.Status().State)
	})
}

func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		p := w.start(t)
		w.Adopt(7, 8)
		require.Equal(t, commandDead([]int{7, 8}), <-p.told)
		require.Equal(t, []int{7, 8}, w.Past())
		w.Stop()
	})
}

func TestSlowWatcherGetsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHouse(t, Options{})
		updates, stop := w.Watch()
		defer stop()
		w.start(t)
		w.Stop()
		require.Equal(t, source.Stopped, (<-updates).State)
	})
}
