package jsmod

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
	require.Eventually(t, func() bool { return len(d.events) >= maxAtWork }, 20*time.Second, time.Millisecond)
	require.Len(t, d.events, maxAtWork)
	require.Len(t, d.machine.(*machine).operations.atWork, maxAtWork)
	d.loop()
	require.Len(t, d.result(), all)
	require.Empty(t, d.machine.(*machine).operations.atWork)
}
