package quickjs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// unheardTexts asks for the rejections that are texts.
func unheardTexts(t *testing.T, vm *VM) (texts []any) {
	t.Helper()
	for _, v := range vm.Unheard() {
		x, ok := vm.fromJS(v.v)
		require.True(t, ok)
		texts = append(texts, x)
		vm.Free(v)
	}
	return texts
}

// A rejection is told once, in order, unless somebody has listened to its promise before
// it is asked for.
func TestUnheardRejections(t *testing.T) {
	vm := testVM(t, nil)
	run := func(source string) {
		must(t, vm, source)
		_, err := vm.RunJobs()
		require.NoError(t, err)
	}
	require.Empty(t, unheardTexts(t, vm))
	run(`
		Promise.reject('a');
		Promise.reject('heard').catch(() => {});
		var late = Promise.reject('heard late'), later = Promise.reject('later');
		Promise.resolve().then(() => late.then(undefined, () => {}));
		Promise.resolve().then(() => { throw 'b'; });
		Promise.resolve(Promise.reject('adopted')).then(() => {});
		new Promise((_, reject) => { reject('c'); reject('d'); });`)
	require.Equal(t, []any{"a", "later", "c", "b", "adopted"}, unheardTexts(t, vm))
	run(`later.catch(() => {})`) // told already
	require.Empty(t, unheardTexts(t, vm))
}

// Promises are held until they are asked for: another one at the address of one that was
// heard and freed is another one.
func TestRejectionsOfManyPromises(t *testing.T) {
	vm := testVM(t, nil)
	must(t, vm, `for (let i = 0; i < 10000; i++) { const p = Promise.reject('x' + i); if (i % 5000) p.catch(() => {}); } 0`)
	_, err := vm.RunJobs()
	require.NoError(t, err)
	require.Equal(t, []any{"x0", "x5000"}, unheardTexts(t, vm))
}

// What an await has heard is not kept until the end of the turn, and what many rejections
// needed is given back.
func TestRejectionsLeaveNothing(t *testing.T) {
	vm := testVM(t, nil)
	run := func(source string) {
		must(t, vm, source)
		_, err := vm.RunJobs()
		require.NoError(t, err)
	}
	run(`(async () => { for (let i = 0; i < 10000; i++) try { await Promise.reject(i) } catch {} })()`)
	require.Empty(t, vm.unheard.list)
	require.Empty(t, vm.unheard.at)
	require.LessOrEqual(t, cap(vm.unheard.list), maxRejections)
	require.Empty(t, vm.Unheard())
	run(`for (let i = 0; i < 1000; i++) Promise.reject(i)`)
	for _, v := range vm.Unheard() {
		vm.Free(v)
	}
	require.Zero(t, cap(vm.unheard.list))
	require.Empty(t, vm.unheard.at)
}

// What was rejected before a reset is not told after it, nor what a snapshot has seen.
func TestResetForgetsRejections(t *testing.T) {
	vm := testVM(t, nil)
	must(t, vm, `Promise.reject('at the snapshot'); 0`)
	require.NoError(t, vm.Snapshot())
	must(t, vm, `for (let i = 0; i < 100; i++) Promise.reject('x' + i); 0`)
	require.NoError(t, vm.Reset())
	require.Empty(t, vm.Unheard())
	must(t, vm, `Promise.reject('after'); 0`)
	require.Equal(t, []any{"after"}, unheardTexts(t, vm))
}

// Jobs take their turn among the callbacks of promises.
func TestJobFunction(t *testing.T) {
	vm := testVM(t, nil)
	job, err := vm.JobFunction()
	require.NoError(t, err)
	f, err := vm.CallValue(load(t, vm, `(job => {
		globalThis.seen = [];
		const note = (x) => { seen.push(x); };
		Promise.resolve(1).then(note);
		job(note, 2);
		Promise.resolve().then(() => { note(3); job(note, 6); Promise.resolve(7).then(note); });
		job((x) => { note(x); }, { valueOf: () => 0, toString: () => 'four' });
		job(note);
	})`), job)
	require.NoError(t, err)
	vm.Free(f)
	vm.Free(job)
	n, err := vm.RunJobs()
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.Equal(t, "1,2,3,four,,6,7", must(t, vm, `seen.join()`))

	job, err = vm.JobFunction()
	require.NoError(t, err)
	_, err = vm.CallValue(load(t, vm, `(job => { job(() => { throw new Error('thrown') }); job(5); })`), job)
	require.NoError(t, err)
	n, err = vm.RunJobs()
	require.ErrorContains(t, err, "thrown")
	require.Equal(t, 2, n)
}
