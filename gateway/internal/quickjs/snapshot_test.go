package quickjs

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// state is every byte of an arena that its snapshot covers.
func state(vm *VM) []byte {
	var b bytes.Buffer
	for _, p := range vm.memory.saved.pieces {
		b.Write(memory(p.at, p.size))
	}
	return b.Bytes()
}

// What scripts do to their world, from the harmless to the hostile.
var deeds = map[string]string{
	"globals":       `globalThis.leak = 'leak'; var leaked = 1; delete globalThis.Map; globalThis.count = 99;`,
	"closures":      `for (let i = 0; i < 50; i++) bump();`,
	"prototypes":    `Array.prototype.push = () => 'stolen'; Object.prototype.evil = 1; Function.prototype.call = null; Promise.prototype.then = 3;`,
	"frozen":        `Object.freeze(globalThis); Object.preventExtensions(Object.prototype);`,
	"atoms":         `for (let i = 0; i < 20000; i++) globalThis['name' + i] = Symbol.for('symbol' + i);`,
	"shapes":        `for (let i = 0; i < 5000; i++) { const o = { a: 1 }; o['p' + i] = 1; kept.push(o); }`,
	"large blocks":  `for (let i = 0; i < 10; i++) kept.push(new Uint8Array(1e6).fill(7)); text += 'y'.repeat(1e6); big.fill(9);`,
	"freed blocks":  `kept = null; big = null; text = null; for (let i = 0; i < 8; i++) ('z'.repeat(50000 + i)).split('z');`,
	"grown blocks":  `for (let i = 0; i < 200000; i++) numbers.push(i);`,
	"jobs":          `const go = (n) => n > 0 && Promise.resolve(n - 1).then(go); go(1000); Promise.reject(new Error('nobody handles this'));`,
	"generators":    `kept = [...Array(100)].map(function* () { try { yield 1; } finally { globalThis.fin = 1; } }); kept.forEach((g, i) => i);`,
	"weak":          `kept.push(new WeakRef({}), new WeakMap([[{}, 1]]), new FinalizationRegistry(() => { globalThis.finalized = 1; })); kept[2].register({});`,
	"cycles":        `for (let i = 0; i < 30000; i++) { const a = {}; a.self = { a }; }`,
	"throws":        `null.x;`,
	"out of memory": `const a = []; for (;;) a.push(new Array(100).fill({}));`,
	"too deep":      `const f = () => 1 + f(); f();`,
	"regexps":       `for (let i = 0; i < 500; i++) kept.push(new RegExp('a'.repeat(i) + '(b|c)*', 'gu').exec('a'.repeat(i) + 'bcb'));`,
	"eval":          `(0, eval)('var fromEval = 1'); new Function('globalThis.fromFunction = 1')();`,
	"proxies":       `globalThis.__proto__ = new Proxy({}, { get() { return 'trapped'; }, has() { return true; } });`,
}

const world = `
var count = 1, kept = [], text = 'x'.repeat(100000), big = new Uint8Array(200000).fill(5), numbers = [1, 2, 3];
var bump = (() => { let n = 0; return () => ++n; })();
var table = new Map([['a', { b: [1, 2] }]]);
var check = () => JSON.stringify([count, kept.length, text.length, big[1], numbers, bump(), table.get('a'), typeof leak, Object.keys(globalThis).length,
  [].push.call([1], 2), Object.prototype.evil, Symbol.keyFor(Symbol.for('symbol1')), Object.isFrozen(globalThis)]);
0`

// A VM that was reset is the same as before, byte for byte, whatever ran in it; so no
// run can leave anything for the next.
func TestResetForgetsEverything(t *testing.T) {
	vm := testVM(t, nil)
	vm.SetMemoryLimit(24 << 20)
	vm.SetGCThreshold(1 << 20)
	must(t, vm, world)
	check := load(t, vm, `(() => check())`)
	require.NoError(t, vm.Snapshot())
	before := bytes.Clone(state(vm))
	first, err := vm.Call(check)
	require.NoError(t, err)
	footprint := int64(0)
	for name, deed := range deeds {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				require.NoError(t, vm.Reset())
				vm.SetMemoryLimit(24 << 20)
				after := bytes.Clone(state(vm))
				require.Len(t, after, len(before))
				require.LessOrEqual(t, differences(before, after), 16, "only the seed of Math.random and the limit may differ")
				footprint = max(footprint, vm.Footprint())
				text, err := vm.Call(check)
				require.NoError(t, err)
				require.Equal(t, first, text)
				_, _ = eval(vm, deed)
				if name == "jobs" {
					_, _ = vm.RunJobs()
				}
			}
		})
	}
	require.NoError(t, vm.Reset())
	require.Equal(t, footprint, vm.Footprint(), "what the deeds took was given back")
	require.LessOrEqual(t, len(vm.memory.chunks), vm.memory.used+keptChunks)
}

func differences(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// Without the copy, the deeds do leave something behind: the test above can fail.
func TestDeedsAreSeenWithoutReset(t *testing.T) {
	vm := testVM(t, nil)
	must(t, vm, world)
	first := must(t, vm, `check()`)
	must(t, vm, deeds["globals"])
	require.NotEqual(t, first, must(t, vm, `check()`))
}

func TestRandomNumbersStartAnew(t *testing.T) {
	vm := testVM(t, nil)
	require.NoError(t, vm.Snapshot())
	seen := map[any]bool{}
	for range 20 {
		require.NoError(t, vm.Reset())
		seen[must(t, vm, `Math.random()`)] = true
	}
	require.Len(t, seen, 20)
}

func TestSnapshotCanBeDropped(t *testing.T) {
	vm := testVM(t, nil)
	must(t, vm, world)
	before := vm.Footprint()
	require.NoError(t, vm.Snapshot())
	require.Equal(t, 2*before, vm.Footprint())
	vm.DropSnapshot()
	require.Equal(t, before, vm.Footprint())
	require.ErrorIs(t, vm.Reset(), ErrBusy)
	must(t, vm, deeds["freed blocks"])
}
