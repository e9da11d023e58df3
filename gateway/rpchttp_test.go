package gateway

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// A body is read to its end, whatever length a handler in front of the gateway has left.
func TestReadAll(t *testing.T) {
	for _, text := range []string{"", "{}", strings.Repeat("x", 511), strings.Repeat("x", 3000)} {
		for _, length := range []int64{-1, 0, 1, int64(len(text)), int64(len(text)) + 7} {
			for _, body := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
				got, err := readAll(body, length)
				require.NoError(t, err)
				require.Equal(t, text, string(got))
			}
		}
	}
	cut := errors.New("cut")
	got, err := readAll(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(cut)), 2)
	require.ErrorIs(t, err, cut)
	require.Equal(t, "{", string(got))
}
