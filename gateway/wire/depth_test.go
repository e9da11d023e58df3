package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckDepth(t *testing.T) {
	nested := func(n int, inner string) []byte {
		return []byte(strings.Repeat(`[`, n) + inner + strings.Repeat(`]`, n))
	}
	require.Nil(t, CheckDepth(nested(32, "")))
	require.Nil(t, CheckDepth(nested(31, `"{[{["`)))
	require.Nil(t, CheckDepth(nested(31, `1, 2 `)))
	require.NotNil(t, CheckDepth(nested(32, `1`)))
	require.NotNil(t, CheckDepth(nested(33, "")))
	require.Nil(t, CheckDepth([]byte(`{"a\"{":"\\","b":[null]}`)))
	require.Nil(t, CheckDepth([]byte(`"`+strings.Repeat("{", 100)+`"`)))
	// The frame bounds agree on depth.
	for _, text := range []string{`{"a":[1]}`, string(nested(32, "")), string(nested(32, "1")), string(nested(31, `{"a":1}`))} {
		require.Equal(t, CheckBounds([]byte(text)) == nil, CheckDepth([]byte(text)) == nil, text)
	}
}
