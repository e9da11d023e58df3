package peers

import (
	"os"
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	stat := "4242 (a (b) c) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100 1 2"
	if got, err := cpuTime([]byte(stat)); err != nil || got != 2*time.Second {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1", "1 (x) S 1 1 1 0 -1 4194560 1 2 3 4 a b 7 8 20 0"} {
		if _, err := cpuTime([]byte(bad)); err == nil {
			t.Errorf("%q is fine", bad)
		}
	}
}

func TestResident(t *testing.T) {
	if got, err := resident([]byte("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n")); err != nil || got != 2<<20 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := resident([]byte("Name:\tx\n")); err == nil {
		t.Error("no VmRSS is fine")
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here")
	}
	if got, err := resident(status); err != nil || got < 1<<20 {
		t.Errorf("of this process: %v %v", got, err)
	}
}
