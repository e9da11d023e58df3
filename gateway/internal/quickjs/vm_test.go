package quickjs

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testVM makes a VM on a thread of its own.
func testVM(t testing.TB, host Host) *VM {
	t.Helper()
	thread := NewThread()
	vm := New(host)
	require.NoError(t, vm.Use(thread))
	t.Cleanup(func() {
		vm.Close()
		thread.Close()
	})
	return vm
}

// eval compiles and evaluates a script.
func eval(vm *VM, source string) (any, error) {
	code, err := vm.Compile(source, true)
	if err != nil {
		return nil, err
	}
	v, err := vm.Load(code)
	if err != nil {
		return nil, err
	}
	defer vm.Free(v)
	x, ok := vm.fromJS(v.v)
	if !ok {
		return nil, vm.thrown()
	}
	return x, nil
}

func must(t testing.TB, vm *VM, source string) any {
	t.Helper()
	x, err := eval(vm, source)
	require.NoError(t, err)
	return x
}

func TestValuesCross(t *testing.T) {
	var got []any
	vm := testVM(t, func(args []any) (any, error) {
		got = append([]any(nil), args...)
		if len(args) == 0 {
			return nil, nil
		}
		return args[0], nil
	})
	host, err := vm.HostFunction()
	require.NoError(t, err)
	identity, err := vm.CallValue(load(t, vm, `(f => (...a) => f(...a))`), host)
	require.NoError(t, err)
	for _, x := range []any{
		"", "text", "naïve 🐢", strings.Repeat("x", 3<<20), "nul \x00 inside", 0, -1, math.MaxInt32, math.MinInt32, 0.5, math.Inf(-1), true, false, nil, Undefined{},
	} {
		y, err := vm.Call(identity, x, x)
		require.NoError(t, err)
		require.Equal(t, x, y)
		require.Equal(t, []any{x, x}, got)
	}
	y, err := vm.Call(identity, int64(math.MaxInt32)+1)
	require.NoError(t, err)
	require.Equal(t, float64(math.MaxInt32)+1, y)
	y, err = vm.Call(identity, math.NaN())
	require.NoError(t, err)
	require.True(t, math.IsNaN(y.(float64)))
	y, err = vm.Call(identity, "a\xffb\xed\xa0\x80")
	require.NoError(t, err)
	require.Equal(t, "a\uFFFDb\uFFFD\uFFFD\uFFFD", y)
	require.Equal(t, "a\uFFFDb", must(t, vm, `'a' + '🐢'[0] + 'b'`))
	require.Equal(t, Undefined{}, must(t, vm, `({})`))
}

func load(t testing.TB, vm *VM, source string) Value {
	t.Helper()
	code, err := vm.Compile(source, true)
	require.NoError(t, err)
	v, err := vm.Load(code)
	require.NoError(t, err)
	return v
}

func TestErrors(t *testing.T) {
	vm := testVM(t, func([]any) (any, error) { return nil, errors.New("told by the host: 100 %d") })
	var e *Error
	_, err := eval(vm, `null.x`)
	require.ErrorAs(t, err, &e)
	require.Equal(t, "TypeError", e.Name)
	require.Contains(t, e.Stack, "<eval>")
	_, err = eval(vm, `throw 'text'`)
	require.EqualError(t, err, "text")
	_, err = eval(vm, `throw { get name() { throw 1 }, toString() { throw 2 } }`)
	require.ErrorAs(t, err, &e)
	require.Empty(t, e.Text)
	_, err = eval(vm, `(`)
	require.ErrorAs(t, err, &e)
	require.Equal(t, "SyntaxError", e.Name)
	host, err := vm.HostFunction()
	require.NoError(t, err)
	text, err := vm.Call(load(t, vm, `(f => { try { f(); } catch (e) { return e.name + ' ' + e.message; } })`), host)
	require.NoError(t, err)
	require.Equal(t, "TypeError told by the host: 100 %d", text)
	_, err = eval(vm, `(() => { const f = () => 1 + f(); return f(); })()`)
	require.ErrorContains(t, err, "stack overflow")
	require.Equal(t, 2, must(t, vm, `1 + 1`), "the VM goes on")
}

func TestMemoryLimit(t *testing.T) {
	vm := testVM(t, nil)
	vm.SetMemoryLimit(4 << 20)
	for _, source := range []string{
		`const a = []; for (;;) a.push({ n: a.length });`, `'x'.repeat(100e6)`, `let s = 'x'; for (;;) s += s;`, `new Uint8Array(50e6)`,
		`const m = new Map(); for (let i = 0; ; i++) m.set('key' + i, new Array(i % 500).fill(i));`,
	} {
		_, err := eval(vm, `(() => {`+source+`})()`)
		require.Error(t, err, source)
		require.Less(t, vm.Footprint(), int64(10<<20), source)
	}
	require.Equal(t, "yyy", must(t, vm, `'y'.repeat(3)`))
}

func TestInterrupt(t *testing.T) {
	vm := testVM(t, nil)
	require.NoError(t, vm.Snapshot())
	time.AfterFunc(20*time.Millisecond, vm.Interrupt)
	_, err := eval(vm, `for (;;) { try { for (;;); } catch {} finally { for (;;); } }`)
	require.ErrorContains(t, err, "interrupted")
	require.False(t, vm.Resettable())
	require.ErrorIs(t, vm.Reset(), ErrBusy)
	_, err = eval(vm, `for (let i = 0; ; i++);`)
	require.ErrorContains(t, err, "interrupted", "it stays interrupted")
}

func TestHostPanicGoesAroundTheEngine(t *testing.T) {
	vm := testVM(t, func([]any) (any, error) { panic("from the host") })
	require.NoError(t, vm.Snapshot())
	host, err := vm.HostFunction()
	require.NoError(t, err)
	f := load(t, vm, `(f => { try { f(); } catch { return 'caught'; } finally { globalThis.seen = true; } })`)
	require.PanicsWithValue(t, "from the host", func() { _, _ = vm.Call(f, host) })
	require.False(t, vm.Resettable())
}

func TestJobs(t *testing.T) {
	vm := testVM(t, nil)
	must(t, vm, `globalThis.n = 0; for (let i = 0; i < 10; i++) Promise.resolve().then(() => { n++; })`)
	require.ErrorIs(t, vm.Snapshot(), ErrBusy, "jobs wait")
	n, err := vm.RunJobs()
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.Equal(t, 10, must(t, vm, `n`))
	vm.maxJobs = 10_000
	must(t, vm, `const again = () => { Promise.resolve().then(again); }; again()`)
	_, err = vm.RunJobs()
	require.ErrorIs(t, err, ErrEndless)
}

// Many VMs run at once, each on whatever thread is free.
func TestThreadsAreShared(t *testing.T) {
	threads := make(chan *Thread, 4)
	for range cap(threads) {
		threads <- NewThread()
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			vm := New(nil)
			defer vm.Close()
			for n := range 20 {
				thread := <-threads
				if err := vm.Use(thread); err != nil {
					t.Error(err)
				}
				x, err := eval(vm, fmt.Sprintf(`globalThis.list ??= []; list.push('%d'); list.length * 100 + %d`, i, i))
				threads <- thread
				if err != nil || x != (n+1)*100+i {
					t.Errorf("VM %d, call %d: %v %v", i, n, x, err)
					return
				}
			}
		})
	}
	wg.Wait()
	for range cap(threads) {
		(<-threads).Close()
	}
}

// The function around a bundle does not keep the text of all of it; those within keep
// theirs, and places of errors are what they were.
func TestWrapperKeepsNoText(t *testing.T) {
	source := `"use strict";
(() => {
  function inner(a) { /* a remark */ return a; }
  globalThis.text = String(inner);
  globalThis.stack = new Error("here").stack;
})();
`
	vm := testVM(t, nil)
	whole, err := vm.Compile(source, true)
	require.NoError(t, err)
	must(t, vm, source)
	stack := must(t, vm, `stack`)
	code, err := vm.CompileWrapped(source)
	require.NoError(t, err)
	require.Less(t, len(code), len(whole)-len(source)/2)
	v, err := vm.Load(code)
	require.NoError(t, err)
	vm.Free(v)
	require.Equal(t, "function inner(a) { /* a remark */ return a; }", must(t, vm, `text`))
	require.Equal(t, stack, must(t, vm, `stack`))
}
