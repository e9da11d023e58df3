package quickjs

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestClasses(t *testing.T) {
	last, lastSize := -1, uintptr(0)
	for size := uintptr(0); size <= maxSmall; size++ {
		class, n := classOf(size)
		require.GreaterOrEqual(t, n, size)
		require.Less(t, class, classes)
		require.Zero(t, n%8)
		if size > 1<<10 {
			require.LessOrEqual(t, n, size+size/8)
		}
		if class != last {
			require.True(t, class == last+1 || class == 0, "class %d after %d", class, last)
			require.GreaterOrEqual(t, n, lastSize)
			last, lastSize = class, n
		}
		require.Equal(t, lastSize, n, "one size to a class")
	}
	require.Equal(t, classes-1, last)
}

// Blocks never overlap and keep what was written to them, across snapshots, too.
func TestArena(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		defer a.destroy()
		type block struct {
			p, size uintptr
			mark    byte
		}
		var blocks, saved []block
		mark := byte(0)
		fill := func(b block) {
			m := memory(b.p, b.size)
			for i := range m {
				m[i] = b.mark
			}
		}
		check := func() {
			for _, b := range blocks {
				m := memory(b.p, b.size)
				for i := 0; i < len(m); i += 1 + i/8 { // dense at the start, where lists are linked
					if m[i] != b.mark {
						t.Fatalf("byte %d of a block of %d is %d, not %d", i, b.size, m[i], b.mark)
					}
				}
				require.Equal(t, b.mark, m[len(m)-1])
			}
		}
		size := rapid.OneOf(rapid.UintptrRange(1, 2000), rapid.UintptrRange(4000, 4200), rapid.UintptrRange(maxSmall-100, maxSmall+100), rapid.UintptrRange(1, 100_000))
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				mark++
				b := block{size: size.Draw(t, "size"), mark: mark}
				b.p = a.alloc(b.size)
				require.NotZero(t, b.p)
				require.Zero(t, b.p%8)
				require.GreaterOrEqual(t, a.sizeOf(b.p), b.size)
				fill(b)
				blocks = append(blocks, b)
			},
			"free": func(t *rapid.T) {
				if len(blocks) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(blocks)-1).Draw(t, "block")
				a.release(blocks[i].p)
				blocks = append(blocks[:i:i], blocks[i+1:]...)
			},
			"save": func(t *rapid.T) {
				require.NoError(t, a.save())
				saved = append([]block(nil), blocks...)
			},
			"drop": func(*rapid.T) {
				a.drop()
				large := uintptr(0)
				for _, b := range blocks {
					if b.size > maxSmall {
						large += a.sizeOf(b.p) + headerSize
					}
				}
				require.Equal(t, large, a.largest, "without a snapshot only what is in use is mapped")
			},
			"restore": func(t *rapid.T) {
				if a.saved == nil {
					t.Skip()
				}
				a.restore()
				blocks = append([]block(nil), saved...)
			},
			"": func(*rapid.T) { check() },
		})
	})
}

// A large block that is freed while a snapshot holds it is given back with the snapshot,
// and with the next one, which must not copy it again; Reset brings it back before.
func TestFreedBlocksGoWithTheSnapshot(t *testing.T) {
	var a arena
	defer a.destroy()
	p := a.alloc(1 << 20)
	memory(p, 1)[0] = 7
	require.NoError(t, a.save())
	a.release(p)
	require.NotZero(t, a.largest)
	a.restore()
	require.EqualValues(t, 7, memory(p, 1)[0])
	a.drop()
	require.Len(t, a.large, 1, "it is in use again")
	require.NoError(t, a.save())
	a.release(p)
	a.drop()
	require.Empty(t, a.large)
	require.Zero(t, a.footprint())
	for range 3 {
		p = a.alloc(1 << 20)
		require.NoError(t, a.save())
		require.Len(t, a.saved.pieces, 1)
		a.release(p)
	}
	require.NoError(t, a.save())
	require.Zero(t, a.footprint())
}
