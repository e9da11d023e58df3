package jsmod

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server that fetch calls learns of the span of the attempt, of no other, and only
// where there is one; a workflow's own header counts more.
func TestFetchTellsItsSpan(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header.Get("traceparent")) }))
	defer server.Close()
	parent := func(attempt int) string {
		return fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333%d-01", attempt)
	}
	code := fmt.Sprintf(`const get = (init) => fetch(%q, init).then((r) => r.text());
		return await ctx.task('a', async ({ attempt }) => {
			const seen = [await get(), await get({ headers: { Traceparent: 'mine' } })];
			if (attempt === 1) throw new Error(seen[0]);
			return seen;
		}, { retries: 1 });`, server.URL)
	traced := runModule(t, testHost(t, HostOptions{}), code, func(d *driver) { d.traced = parent })
	require.Equal(t, []any{parent(2), "mine"}, traced.result())
	require.Empty(t, traced.machine.(*machine).operations.parents, "attempts that are over are forgotten")
	require.Equal(t, []any{"", "mine"}, runModule(t, testHost(t, HostOptions{}), code).result())
}

// A program learns of the span by its environment, where the workflow does not say another.
func TestExecTellsItsSpan(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	code := `const see = async (env) => (await exec('sh', ['-c', 'printf %s "$TRACEPARENT"'], { env })).stdout;
		return await ctx.task('a', async () => [await see(), await see({ TRACEPARENT: 'mine' })]);`
	h := testHost(t, HostOptions{Exec: []string{"sh"}})
	require.Equal(t, []any{parent, "mine"}, runModule(t, h, code, func(d *driver) { d.traced = func(int) string { return parent } }).result())
	require.Equal(t, []any{"", "mine"}, runModule(t, h, code).result())
}

// Responses that a workflow has not taken yet are bounded like the fetches under way:
// what has ended keeps its place until it is delivered.
func TestFetchesWaitForDelivery(t *testing.T) {
	const all = 3 * maxAtWork
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "x") }))
	defer server.Close()
	m := load(t, testHost(t, HostOptions{}), "w.mjs", body(fmt.Sprintf(`return await ctx.task('a', async () =>
		(await Promise.all(Array.from({ length: %d }, () => fetch(%q).then((r) => r.text())))).join(''));`, all, server.URL)))
	d := newDriver(t, m, "w")
	d.take(d.machine.Start(d.input))
	for len(d.queue) > 0 {
		next := d.queue[0]
		d.queue = d.queue[1:]
		d.take(next())
	}
	require.Eventually(t, func() bool { return len(d.events) >= maxAtWork }, time.Minute, time.Millisecond)
	require.Len(t, d.events, maxAtWork)
	require.Len(t, d.machine.(*machine).operations.atWork, maxAtWork)
	d.loop()
	require.Len(t, d.result(), all)
	require.Empty(t, d.machine.(*machine).operations.atWork)
}

// Programs that a workflow runs are bounded by the same places: further ones begin when
// one has ended and was delivered.
func TestProgramsWaitForTheirTurn(t *testing.T) {
	const all = maxAtWork + 8
	m := load(t, testHost(t, HostOptions{Exec: []string{"true"}}), "w.mjs", body(fmt.Sprintf(`return await ctx.task('a', async () =>
		(await Promise.all(Array.from({ length: %d }, () => exec('true', [])))).length);`, all)))
	d := newDriver(t, m, "w")
	d.take(d.machine.Start(d.input))
	for len(d.queue) > 0 {
		next := d.queue[0]
		d.queue = d.queue[1:]
		d.take(next())
	}
	require.Eventually(t, func() bool { return len(d.events) >= maxAtWork }, time.Minute, time.Millisecond)
	require.Len(t, d.events, maxAtWork)
	require.Len(t, d.machine.(*machine).operations.atWork, maxAtWork)
	d.loop()
	require.Equal(t, float64(all), d.result())
	require.Empty(t, d.machine.(*machine).operations.atWork)
}
