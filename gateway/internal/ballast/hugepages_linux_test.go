package ballast

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// What init did is to be seen in the flags of this process's memory ("hg", see proc_pid_smaps(5)).
func TestMemoryOfAStartMayBeInHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("the kernel has no huge pages: ", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heap := uintptr(unsafe.Pointer(&held[0])) &^ (64<<20 - 1) // Go's own tables elsewhere may be in huge pages, too
	var size, advised uintptr
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		var begin, end uintptr
		if _, err := fmt.Sscanf(line, "%x-%x ", &begin, &end); err == nil {
			size = min(end, heap+128<<20) - min(max(begin, heap), end, heap+128<<20)
		}
		if strings.HasPrefix(line, "VmFlags:") && strings.Contains(line+" ", " hg ") {
			advised += size
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if advised < startBytes-2*hugePage || advised > startBytes {
		t.Errorf("%d bytes may be in huge pages, want nearly %d", advised, startBytes)
	}
}

func TestMemoryOfAStartIsGivenBack(t *testing.T) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > Bytes+startBytes/2 {
		t.Errorf("%d bytes are live, want little more than the ballast", m.HeapAlloc)
	}
}
