package store

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// resident is the memory of this process beside Go's heap, roughly, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, pages int64
	_, err = fmt.Sscan(string(text), &size, &pages)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}

func TestShrinkGivesBackCachedPages(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is read from /proc")
	}
	s := open(t)
	id := withRun(t, s, "r")
	text := strings.Repeat("x", 64<<10)
	write := func() {
		update(t, s, func(tx *Tx) error {
			for range 400 {
				if err := tx.Append(id, &Event{Type: "T", Payload: []byte(`{"text":"` + text + `"}`)}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	write()
	view(t, s, func(v *View) {
		_, err := v.EventsLog(id, -1, 100)
		require.NoError(t, err)
	})
	full := resident(t)
	s.Shrink()
	require.Eventually(t, func() bool { return full-resident(t) > 20<<20 }, time.Minute, 10*time.Millisecond,
		"25 MiB of pages were cached, and the committer is idle")
	write() // and goes on
}
