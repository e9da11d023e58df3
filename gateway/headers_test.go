package gateway

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommonHeadersAreEachAnswersOwn(t *testing.T) {
	a, b := http.Header{}, http.Header{}
	setCommonHeaders(a)
	setCommonHeaders(b)
	require.Equal(t, "no-store", a.Get("Cache-Control"))
	require.Len(t, a, len(commonHeaders))
	for _, c := range commonHeaders {
		require.Equal(t, []string{c[1]}, a.Values(c[0]), "canonical names")
		a[c[0]][0] = "changed" // as Caddy's header directive does
		a.Add(c[0], "more")
		require.Equal(t, []string{c[1]}, b.Values(c[0]))
	}
	require.Equal(t, []string{"changed", "more"}, a.Values("X-Frame-Options"))
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { setCommonHeaders(b) }), 1.0)
}
