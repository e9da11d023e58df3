package frames

import (
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

func TestIDs(t *testing.T) {
	workflow := hashText(hashStart, "smithers:workflow")
	require.EqualValues(t, 1753301139, workflow&idMask)
	require.EqualValues(t, 1210785256, childHash(workflow, "smithers:sequence")&idMask)
	require.EqualValues(t, 336713047, childHash(workflow, "smithers:task#ship")&idMask)
	require.EqualValues(t, 973694515, childHash(childHash(workflow, "smithers:sequence"), "smithers:task#gate")&idMask)
}

func TestIDsHashUTF16Units(t *testing.T) {
	for _, s := range []string{"", "é", "🚀", "a/b", "\x00", "\ufffd"} {
		want := hashStart
		for _, u := range utf16.Encode([]rune(s)) {
			want = (want ^ uint32(u)) * hashPrime
		}
		require.Equal(t, want, hashText(hashStart, s), "%q", s)
	}
}

func TestCollidingIDsAreSalted(t *testing.T) {
	h := hashText(hashStart, "x")
	taken := map[int64]bool{}
	for _, path := range []string{"x", "x\x001", "x\x002"} {
		id := freeID(h, func(id int64) bool { return taken[id] })
		require.EqualValues(t, hashText(hashStart, path)&idMask, id, "%q", path)
		taken[id] = true
	}
}
