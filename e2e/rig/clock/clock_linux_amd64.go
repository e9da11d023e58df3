package clock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Clock is the time of day that one process sees. Set works while the process runs,
// as NTP or an operator would for the whole machine; time spans are not touched.
//
// Go asks the kernel's vDSO for the time, a page of code that every process has a copy
// of. Clock puts other code into the copy of the process: it asks the kernel and adds
// an offset to the wall clock. The binary under test stays as it is.
type Clock struct {
	pid    int
	offset int64 // address of the offset, in seconds, in the process
}

// stub is clock_gettime(2) with the offset behind it added to CLOCK_REALTIME.
var stub = []byte{
	0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi
	0x75, 0x0a, // jnz ret: another clock
	0x48, 0x8b, 0x0d, 0x06, 0, 0, 0, // mov rcx, [rip+6]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, // ret
	0x90, 0x90,
	0, 0, 0, 0, 0, 0, 0, 0, // the offset
}

const stubOffset = 24 // of the offset in stub

// Start starts cmd with its clock set by an offset from its first instruction
// on. The caller waits for the process as after cmd.Start.
func Start(cmd *exec.Cmd, by time.Duration) (*Clock, error) {
	runtime.LockOSThread() // whose child is traced
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true // stops before its first instruction
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return nil, fmt.Errorf("wait for the start: %w", err)
	}
	c, err := takeClock(pid, by)
	return c, errors.Join(err, syscall.PtraceDetach(pid))
}

// takeClock puts the stub behind the code of the vDSO, and a jump to it in front.
func takeClock(pid int, by time.Duration) (*Clock, error) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	from, to, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	image := make([]byte, to-from)
	if _, err := mem.ReadAt(image, from); err != nil {
		return nil, fmt.Errorf("read the vDSO: %w", err)
	}
	entry, err := clockGettime(image)
	if err != nil {
		return nil, err
	}
	free := int64(len(image) - len(stub))
	if len(bytes.Trim(image[free:], "\x00")) > 0 {
		return nil, errors.New("the vDSO has no room")
	}
	jump := []byte{0xe9, 0, 0, 0, 0} // jmp rel32
	binary.LittleEndian.PutUint32(jump[1:], uint32(free-entry-int64(len(jump))))
	_, err = mem.WriteAt(stub, from+free)
	if err == nil {
		_, err = mem.WriteAt(jump, from+entry)
	}
	if err != nil {
		return nil, fmt.Errorf("change the vDSO: %w", err)
	}
	c := &Clock{pid: pid, offset: from + free + stubOffset}
	return c, c.Set(by)
}

// Set puts the clock of the process this far ahead of the machine's, in whole seconds;
// behind it when negative.
func (c *Clock) Set(by time.Duration) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	_, err = mem.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(by/time.Second)), c.offset)
	return err
}

// vdso is where the process has the vDSO.
func vdso(pid int) (from, to int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x ", &from, &to)
			return from, to, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// clockGettime is where in the image of the vDSO the function begins.
func clockGettime(image []byte) (int64, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, fmt.Errorf("the vDSO: %w", err)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int64(s.Value), nil
		}
	}
	return 0, errors.New("the vDSO has no clock_gettime")
}
