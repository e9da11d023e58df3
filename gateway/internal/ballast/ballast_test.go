package ballast

import (
	"runtime"
	"testing"
)

// Ballast that the compiler had made a static variable would not count for the collector.
func TestBallastIsOnTheHeap(t *testing.T) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if len(held) != Bytes || m.HeapAlloc < Bytes {
		t.Errorf("%d bytes are held and %d live, want %d", len(held), m.HeapAlloc, Bytes)
	}
}
