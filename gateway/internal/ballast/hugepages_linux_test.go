package ballast

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
)

// atFirst is how it is before anything but the start of the process has happened.
var atFirst struct {
	memory runtime.MemStats
	huge   uintptr
	err    error
}

func TestMain(m *testing.M) {
	runtime.ReadMemStats(&atFirst.memory)
	atFirst.huge, atFirst.err = mayBeHuge()
	os.Exit(m.Run())
}

// mayBeHuge is how much of the memory of a start is marked "hg" in the flags of this process's
// memory, see proc_pid_smaps(5).
func mayBeHuge() (marked uintptr, err error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var size uintptr
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		var begin, end uintptr
		if _, err := fmt.Sscanf(line, "%x-%x ", &begin, &end); err == nil {
			size = 0
			if begin, end = max(begin, advised.begin), min(end, advised.end); begin < end {
				size = end - begin
			}
		}
		if strings.HasPrefix(line, "VmFlags:") && strings.Contains(line+" ", " hg ") {
			marked += size
		}
	}
	return marked, lines.Err()
}

func TestMemoryOfAStartMayBeInHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("the kernel has no huge pages: ", err)
	}
	if errors.Is(atFirst.err, fs.ErrNotExist) {
		t.Skip(atFirst.err)
	}
	if atFirst.err != nil {
		t.Fatal(atFirst.err)
	}
	whole := advised.end - advised.begin
	if whole < startBytes-2*hugePage || whole > startBytes {
		t.Errorf("huge pages were asked for %d bytes, want nearly %d", whole, startBytes)
	}
	if atFirst.huge != whole {
		t.Errorf("%d bytes from %x on may be in huge pages, want %d", atFirst.huge, advised.begin, whole)
	}
	Started()
	if n, err := mayBeHuge(); n != 0 || err != nil {
		t.Errorf("%d bytes from %x on may still be in huge pages behind the start (%v)", n, advised.begin, err)
	}
}

func TestMemoryOfAStartIsGivenBack(t *testing.T) {
	if live := atFirst.memory.HeapAlloc; live > Bytes+startBytes/2 {
		t.Errorf("%d bytes were live, want little more than the ballast", live)
	}
}
