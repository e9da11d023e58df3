package wire

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is kept from one frame to the next never shows.
func FuzzRunEvents(f *testing.F) {
	f.Add("node.output", "node.output", int64(8), int64(1), int64(9), int64(1))
	f.Add("", "a\"b", int64(math.MaxInt64), int64(1), int64(-1), int64(1))
	f.Add("x", "", int64(99), int64(0), int64(-10), int64(-1))
	f.Fuzz(func(t *testing.T, one, other string, n, step, m, by int64) {
		frames := NewRunEvents("s", "r\n")
		var tail EventTail
		for i := range 12 {
			name := one
			if i%4 == 3 {
				name = other
			}
			payload := []byte(`{"i":` + strconv.Itoa(i) + `}`)
			got := tail.Append(frames.Append([]byte("before"), name, payload, n, m), m, n)
			want := reference(t, EventRun, runEvent{"s", APIVersion, "RunEvent", "r\n", name, payload, n, m}, m, n)
			require.Equal(t, "before"+want, string(got))
			n, m = n+step, m+by
		}
	})
}

func TestDigits(t *testing.T) {
	var d Digits
	for _, n := range []int64{0, 0, 1, 2, 8, 9, 10, 11, 19, 20, 99, 100, 101, 101, 42, 43, -2, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64, math.MinInt64 + 1} {
		require.Equal(t, strconv.FormatInt(n, 10), string(d.Append(nil, n)))
	}
}
