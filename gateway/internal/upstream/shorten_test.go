package upstream

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func shortened(t *testing.T, text string, most int) string {
	t.Helper()
	out, err := io.ReadAll(&shortener{r: iotest.OneByteReader(strings.NewReader(text)), most: most})
	require.NoError(t, err)
	whole, err := io.ReadAll(&shortener{r: strings.NewReader(text), most: most})
	require.NoError(t, err)
	require.Equal(t, string(whole), string(out), "however it arrives")
	return string(out)
}

// Long strings lose their ends, and nothing else does.
func TestStringsAreShortened(t *testing.T) {
	for _, c := range [][2]string{
		{`{"a":"1234","b":[123456789,true]}`, `{"a":"1234","b":[123456789,true]}`},
		{`{"a":"12345","long name":"x"}`, `{"a":"1234","long":"x"}`},
		{`["\"\"\"","\\"]`, `["\"\"","\\"]`},
		{`["abc\u00e9def"]`, `["abc\u00e9"]`},
		{`["abcéf","漢字","日本語"]`, `["abcé","漢字","日本"]`},
		{`"abcd\""`, `"abcd"`},
	} {
		require.Equal(t, c[1], shortened(t, c[0], 4), c[0])
	}
}

func FuzzShortener(f *testing.F) {
	f.Add(`{"a":"\ud83d\ude00 text","b":{"c":["é","漢字\\"]}}`, 3)
	f.Add(`"\\\"\u0000"`, 1)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = max(1, most%64)
		short := shortened(t, text, most)
		require.LessOrEqual(t, len(short), len(text))
		if utf8.ValidString(text) && json.Valid([]byte(text)) {
			require.True(t, json.Valid([]byte(short)), short)
			require.True(t, utf8.ValidString(short), short)
			require.Equal(t, text, shortened(t, text, len(text)+1), "nothing in it is long")
		}
	})
}
