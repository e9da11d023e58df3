package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// Usage is what a process holds of the machine.
type Usage struct {
	Goroutines int
	Files      int
	RSS        int64 // bytes
	Heap       int64 // bytes in use after a collection
}

// Usage measures the process through its admin API and the kernel.
func (p *Process) Usage() Usage {
	p.T.Helper()
	dir := "/proc/" + strconv.Itoa(p.Cmd.Process.Pid)
	if _, err := os.Stat(dir); err != nil {
		Need(p.T, false, "the /proc file system")
	}
	var u Usage
	heap, err := p.Admin("GET", "/debug/pprof/heap?gc=1&debug=1", "")
	require.NoError(p.T, err)
	for line := range strings.Lines(heap) {
		if text, ok := strings.CutPrefix(line, "# HeapInuse = "); ok {
			u.Heap, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			require.NoError(p.T, err)
		}
	}
	stacks, err := p.Admin("GET", "/debug/pprof/goroutine?debug=1", "")
	require.NoError(p.T, err)
	_, err = fmt.Sscanf(stacks, "goroutine profile: total %d", &u.Goroutines)
	require.NoError(p.T, err)
	files, err := os.ReadDir(dir + "/fd")
	require.NoError(p.T, err)
	u.Files = len(files)
	statm, err := os.ReadFile(dir + "/statm")
	require.NoError(p.T, err)
	var size, resident int64
	_, err = fmt.Sscan(string(statm), &size, &resident)
	require.NoError(p.T, err)
	u.RSS = resident * int64(os.Getpagesize())
	return u
}

// clockTick is the unit of times in /proc: a hundredth of a second on all of Linux.
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.Cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// Behind the name, which may contain anything, utime and stime are the 12th and 13th.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", p.Cmd.Process.Pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}
