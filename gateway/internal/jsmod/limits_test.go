package jsmod

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// TestLoopIsStopped runs modules that never pause, beside one that behaves.
func TestLoopIsStopped(t *testing.T) {
	if raceEnabled {
		t.Skip("the engine is too slow under the race detector")
	}
	h := testHost(t, HostOptions{TimeLimit: time.Second})
	h.grace = 10 * time.Minute // it must end by itself
	good := load(t, h, "w.mjs", body(`let n = 0; for (let i = 0; i < 20; i++) n += await ctx.task('t' + i, () => i); return n;`))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d := newDriver(t, good, "w")
			d.run()
			d.machine.Close()
			if d.err != nil || d.done == nil || string(d.done.Value) != "190" {
				t.Errorf("the neighbour was hurt: %v %v", d.err, d.done)
				return
			}
		}
	})
	var loops sync.WaitGroup
	for name, code := range map[string]string{
		"while":             `while (true) {}`,
		"catches":           `for (;;) { try { while (true) {} } catch {} finally { while (true) {} } }`,
		"in a task":         `await ctx.task('a', () => { for (;;); });`,
		"promise callbacks": `await ctx.sleep('s', 1); const f = () => { Promise.resolve().then(f); }; f(); await new Promise(() => {});`, // keeps none of them,
		"regexp":            `/^(a+)+$/.test('a'.repeat(40) + 'b');`,
		"getter in JSON":    `return { get x() { for (;;); } };`,
	} {
		m := load(t, h, "w.mjs", body(code))
		d := newDriver(t, m, "w")
		loops.Go(func() {
			d.run()
			if f := d.failed(); f == nil || f.Code != program.CodeTimeLimit || !f.NoRetry {
				t.Errorf("%s: %v %+v", name, d.err, d.done)
			}
			if _, err := d.machine.Settle(program.Settlement{Ref: 1}); err == nil {
				t.Errorf("%s: a broken machine goes on", name)
			}
			d.machine.Close()
		})
	}
	loops.Wait()
	close(stop)
	wg.Wait()
	require.Zero(t, h.Stats().Abandoned)
}

func TestMemoryIsLimited(t *testing.T) {
	if raceEnabled {
		t.Skip("the engine is too slow under the race detector")
	}
	h := testHost(t, HostOptions{MemoryLimit: 8 << 20, TimeLimit: time.Minute})
	for name, code := range map[string]string{
		"arrays":      `const a = []; for (;;) a.push(new Array(1000).fill(1));`,
		"huge string": `let s = 'x'; for (;;) s += s;`,
		"repeat":      `return 'x'.repeat(500_000_000).length;`,
		"buffer":      `return new Uint8Array(1_000_000_000).length;`,
		"in a task":   `await ctx.task('a', () => { const a = []; for (;;) a.push({}); });`,
	} {
		t.Run(name, func(t *testing.T) {
			f := runModule(t, h, code).failure()
			if f.Code != program.CodeMemoryLimit {
				require.Contains(t, f.Name, "Error", "%+v", f) // a RangeError of the language comes first
				require.NotEmpty(t, f.Message)
			}
		})
	}
}

func TestDeepRecursionIsAnError(t *testing.T) {
	h := testHost(t, HostOptions{})
	f := runModule(t, h, `const f = () => 1 + f(); f();`).failure()
	require.Contains(t, f.Message, "stack overflow")
	d := runModule(t, h, `let a = []; for (let i = 0; i < 100000; i++) a = [a]; try { return JSON.stringify(a).length; } catch (e) { return e.message; }`)
	require.NotNil(t, d.done)
}

// TestAbandonedVM uses a built-in function that does not see the interrupt.
func TestAbandonedVM(t *testing.T) {
	if raceEnabled {
		t.Skip("the engine is too slow under the race detector")
	}
	told := make(chan bool, 100)
	h := testHost(t, HostOptions{TimeLimit: time.Second, MaxAbandoned: 1, OnAbandoned: func(_ int, reached bool) { told <- reached }})
	h.grace = 50 * time.Millisecond
	for size := 10_000_000; ; size *= 2 { // until it takes too long for this machine
		require.Less(t, size, 1<<50)
		d := runModule(t, h, fmt.Sprintf(`Array.prototype.indexOf.call({ length: %d }, 1);`, size))
		d.machine.Close()
		f := d.failed()
		if f != nil && f.Code == program.CodeAbandoned {
			break
		}
		require.True(t, f == nil || f.Code == program.CodeTimeLimit, "%+v", f)
		require.Empty(t, told)
	}
	require.True(t, <-told)
	require.Equal(t, 1.0, runModule(t, h, `return 1;`).result(), "others go on")
	require.Eventually(t, func() bool { return h.Stats().Abandoned == 0 }, 5*time.Minute, 10*time.Millisecond, "its goroutine ends when the function does")
}

// TestMemoryBudget opens machines until the bytes of all VMs are used up.
func TestMemoryBudget(t *testing.T) {
	h := testHost(t, HostOptions{MemoryTotal: 12 << 20})
	m := load(t, h, "w.mjs", body(`const keep = new Uint8Array(3_000_000); await ctx.sleep('s', 1); return keep.length;`))
	p := m.Workflows[0].Program
	m.Close() // no pooled VMs in the way
	open := func() (program.Machine, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		machine, err := p.New(ctx, program.Env{Post: func(any) {}})
		if err != nil {
			return nil, err
		}
		turn, err := machine.Start(program.Input{Input: []byte("{}")})
		if err == nil && turn.Done != nil {
			err = turn.Done.Err // it was let in, but had to do with what was left
		}
		return machine, err
	}
	var machines []program.Machine
	for len(machines) < 10 {
		machine, err := open()
		if machine != nil {
			machines = append(machines, machine)
		}
		if err != nil {
			require.ErrorContains(t, err, "vm_memory_total")
			break
		}
	}
	require.Greater(t, len(machines), 1)
	require.Less(t, len(machines), 6)
	require.Less(t, h.Stats().MemoryBytes, int64(16<<20))
	for _, machine := range machines {
		machine.Close()
	}
	require.Zero(t, h.Stats().MemoryBytes)
	machine, err := open()
	require.NoError(t, err)
	machine.Close()
}

func TestClosedHostRefuses(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", helloModule)
	d := newDriver(t, m, "w")
	h.Close()
	_, err := d.machine.Start(d.input)
	require.ErrorContains(t, err, "closed")
	_, err = m.Workflows[0].Program.New(context.Background(), program.Env{})
	require.Error(t, err)
	_, err = h.Load(context.Background(), m.Bundle)
	require.Error(t, err)
}

// collect gives the driver an Env that takes what is handed over.
func (d *driver) collect(said *[]program.Op, wait func()) {
	d.machine.(*machine).env.HandOver = func(_ context.Context, ops []program.Op) {
		*said = append(*said, ops...)
		wait()
	}
}

// TestTalkativeTurn logs more in one turn than may be held.
func TestTalkativeTurn(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`await ctx.task('a', ({ log, heartbeat, usage }) => {
		for (let i = 0; i < 5000; i++) { log('line ' + i); heartbeat(i); usage({ inputTokens: i }); }
	}); for (let i = 0; i < 1000; i++) ctx.log('end'); return 1;`))
	d := newDriver(t, m, "w")
	var said []program.Op
	d.collect(&said, func() {})
	d.run()
	require.Equal(t, 1.0, d.result())
	require.LessOrEqual(t, len(d.ops), 2*maxSaid+2, "only the last part is left for the turns' ends")
	lines := 0
	for _, op := range append(said, d.ops...) {
		if o, ok := op.(program.Output); ok && o.Text == fmt.Sprint("line ", lines) {
			lines++
		}
	}
	require.Equal(t, 5000, lines, "all of them, in order")
	require.Equal(t, 16000+2, len(said)+len(d.ops))
}

// TestLargeLinesAreHandedOver goes by bytes.
func TestLargeLinesAreHandedOver(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`await ctx.task('a', ({ log }) => { for (let i = 0; i < 20; i++) log('x'.repeat(200_000)); });`))
	d := newDriver(t, m, "w")
	var said []program.Op
	d.collect(&said, func() {})
	d.run()
	require.Equal(t, 20, len(said))
}

// TestWaitingIsNotComputing lets a turn wait for commits longer than it may compute.
func TestWaitingIsNotComputing(t *testing.T) {
	if raceEnabled {
		t.Skip("the engine is too slow under the race detector")
	}
	limit := 2 * time.Second
	h := testHost(t, HostOptions{TimeLimit: limit})
	m := load(t, h, "w.mjs", body(`await ctx.task('a', ({ log }) => { for (let i = 0; i < 512; i++) log('x'); }); return 1;`))
	d := newDriver(t, m, "w")
	var said []program.Op
	waited := time.Duration(0)
	d.collect(&said, func() {
		if waited == 0 {
			waited = limit + limit/10
			<-time.After(waited)
		}
	})
	d.run()
	require.Equal(t, 1.0, d.result())
	require.Equal(t, 512, len(said))
	require.NotZero(t, waited)
	loop := load(t, h, "w.mjs", body(`await ctx.task('a', ({ log }) => { for (let i = 0; i < 256; i++) log('x'); for (;;); });`))
	d = newDriver(t, loop, "w")
	d.collect(&said, func() { <-time.After(100 * time.Millisecond) })
	d.run()
	require.Equal(t, program.CodeTimeLimit, d.failure().Code, "computing still is")
}

// TestStreamedProgramIsHeldBack runs a program that writes faster than anybody reads.
func TestStreamedProgramIsHeldBack(t *testing.T) {
	if _, err := exec.LookPath("seq"); err != nil {
		t.Skip("needs seq")
	}
	h := testHost(t, HostOptions{Exec: []string{"seq"}})
	m := load(t, h, "w.mjs", body(`return await ctx.task('a', async () => (await exec('seq', ['1', '300000'], { stream: true })).stdout.length);`))
	d := newDriver(t, m, "w")
	posted := make(chan struct{}, 1000)
	d.machine.(*machine).env.Post = func(e any) { d.events <- e; posted <- struct{}{} }
	d.take(d.machine.Start(d.input))
	d.take(d.machine.Attempt(program.Attempt{Ref: 1, Number: 1}))
	d.queue = nil
	for range maxStreamed {
		<-posted
	}
	select {
	case <-posted:
		t.Fatal("the program is not held back")
	case <-time.After(100 * time.Millisecond):
	}
	d.loop()
	require.Equal(t, 1988895.0, d.result())
	text := 0
	for _, op := range d.ops {
		if o, ok := op.(program.Output); ok {
			text += len(o.Text)
		}
	}
	require.Equal(t, 1988895, text)
}
