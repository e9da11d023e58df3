//go:build unix

package jsmod

import (
	"syscall"
	"testing"
	"time"
)

// reportCPU adds the processor time of an operation to a benchmark, which a busy
// machine changes less than the time on the wall.
func reportCPU(b *testing.B) func() {
	start := processorTime()
	return func() { b.ReportMetric(float64(processorTime()-start)/float64(b.N)/1e3, "cpu-µs/op") }
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
