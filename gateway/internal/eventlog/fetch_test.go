package eventlog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadingKeepsAheadOfItsReader(t *testing.T) {
	m := newMemory()
	m.commit("r", 1000)
	l := newLog(t, m, Options{Chunk: 100})
	r, _ := attach(t, l, "r", at(0))
	l.fetch.wg.Wait()
	require.Equal(t, 3, m.afters, "the first chunk, the one behind it, and one more that nobody has asked for")
	r.until(firstChunk + 1) // with the second chunk it asks for the third, which is there
	l.fetch.wg.Wait()
	require.Equal(t, 4, m.afters)
	r.until(1000)
	l.fetch.wg.Wait()
	require.Equal(t, seqs(1, 1000), r.got)
	require.Equal(t, 11, m.afters, "none is read twice")
	require.Equal(t, Stats{Runs: 1, RingBytes: runOverhead, Cursors: 1, Reads: 11}, l.Stats(), "a chunk read ahead was not shared")

	again, _ := attach(t, l, "r", at(0))
	again.until(1000)
	require.Equal(t, seqs(1, 1000), again.got)
	require.EqualValues(t, 11, l.Stats().Shared)
}

// A reader that is gone, or does not come, costs one chunk that nobody gets.
func TestReadingAheadEndsWithItsReader(t *testing.T) {
	m := newMemory()
	m.commit("r", 1000)
	l := newLog(t, m, Options{Chunk: 100})
	r, _ := attach(t, l, "r", at(0))
	r.c.Detach()
	l.fetch.wg.Wait()
	require.Equal(t, 3, m.afters)
}

func TestReadersThatWaitComeBeforeReadingAhead(t *testing.T) {
	m := newMemory()
	m.gate = make(chan struct{})
	m.commit("a", 100)
	m.commit("b", 100)
	f := newFetcher(m, 1)
	defer f.close()
	waiting := &Cursor{wake: func() {}}
	f.start(&run{id: "a", base: 100}, 0, 10, 10, waiting)
	f.start(&run{id: "b", base: 100}, 0, 10, 10, waiting)
	for range 3 {
		m.gate <- struct{}{}
	}
	f.wg.Wait()
	require.Equal(t, 3, m.afters)
	require.NotContains(t, f.flights, fetchKey{"a", 10})
	require.Contains(t, f.flights, fetchKey{"b", 10})
}
