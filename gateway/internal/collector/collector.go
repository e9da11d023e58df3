// Package collector has the garbage of a start collected at its end, once.
package collector

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// small is the heap, in bytes, of a process that only starts. A larger one is that of a
// program which does other things, too, and is left to Go.
const small = 64 << 20

// factor is for GOGC during a start: it would be collected in the middle otherwise, when both
// the database and the module need the processors. It is not switched off, as a start may
// take long.
const factor = 3

const usual = 100 // what GOGC is where nobody sets it

var postponed struct {
	mu     sync.Mutex
	starts int
	before int // GOGC
	set    int // while a start lasts; 0: nothing was
}

// Postpone has Go collect later until collect is called, which collects: the garbage of a
// start, some megabytes, serves the first requests, which would take as many pages from the
// operating system, a fault for each. Does nothing where GOGC is off, and collects nothing in
// a heap of more than 64 MiB. Safe for concurrent use.
func Postpone() (collect func()) {
	postponed.mu.Lock()
	defer postponed.mu.Unlock()
	if postponed.starts++; postponed.starts == 1 && heap() < small {
		postponed.set = factor * usual
		postponed.before = debug.SetGCPercent(postponed.set)
		switch {
		case postponed.before < 0:
			postponed.set = 0
			debug.SetGCPercent(postponed.before)
		case postponed.before != usual:
			postponed.set = factor * postponed.before
			debug.SetGCPercent(postponed.set)
		}
	}
	return sync.OnceFunc(started)
}

func started() {
	postponed.mu.Lock()
	if postponed.starts--; postponed.starts == 0 && postponed.set != 0 {
		if now := debug.SetGCPercent(postponed.before); now != postponed.set {
			debug.SetGCPercent(now) // somebody has set it since
		}
		postponed.set = 0
	}
	postponed.mu.Unlock()
	if heap() < small {
		runtime.GC()
	}
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return small
	}
	return sample[0].Value.Uint64()
}
