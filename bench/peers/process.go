// Package peers starts the servers that are compared, each as a process of its own on
// loopback, with the settings that its documentation recommends for production. The
// settings are files of this folder.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is one running server.
type Process struct {
	Name string
	Dir  string // its own; removed with it
	Addr string // "127.0.0.1:port"

	cmd  *exec.Cmd
	done chan struct{}
	keep bool
}

// spec says what to start.
type spec struct {
	name  string
	dir   string // "": a temporary one
	env   []string
	argv  []string
	ready string // a path that answers 200
}

// start runs a process and waits until it is ready. Another process may take the address
// first; then it is tried again at another one.
func start(ctx context.Context, s spec) (*Process, error) {
	for try := 1; ; try++ {
		addr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		p := &Process{Name: s.name, Dir: s.dir, Addr: addr, done: make(chan struct{})}
		if err := p.launch(s); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		err = p.Ready(ctx, s.ready)
		if err == nil {
			return p, nil
		}
		p.Kill()
		err = fmt.Errorf("%s: %w\n%s", s.name, err, p.LogTail())
		if try == 3 || ctx.Err() != nil {
			p.Stop()
			return nil, err
		}
	}
}

func (p *Process) launch(s spec) error {
	log, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.Dir, log, log
	_, port, _ := net.SplitHostPort(p.Addr)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.Dir, "PORT=" + port}, s.env...)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

// FreeAddr is an address of loopback that nobody listens on. Its port is not among those
// that the system gives to clients.
func FreeAddr() (string, error) {
	var err error
	for range 100 {
		var ln net.Listener
		if ln, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))); err == nil {
			defer ln.Close()
			return ln.Addr().String(), nil
		}
	}
	return "", err
}

// Ready waits until a path is answered with 200.
func (p *Process) Ready(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	httpc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Addr+path, nil)
		if err != nil {
			return err
		}
		if resp, err := httpc.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return errors.New("it did not become ready")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Stop kills the process and removes its folder.
func (p *Process) Stop() {
	p.Kill()
	if !p.keep {
		_ = os.RemoveAll(p.Dir)
	}
}

// Kill ends the process as a power cut does. Its folder stays.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Terminate asks the process to end and waits for it.
func (p *Process) Terminate() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not end by itself", p.Name)
	}
}

// CPU is the processor time that the process has used so far.
func (p *Process) CPU() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return cpuTime(data)
}

// ticks of /proc/PID/stat a second; USER_HZ is 100 on every Linux system.
const ticks = 100

// cpuTime reads utime and stime, fields 14 and 15 of proc_pid_stat(5).
func cpuTime(stat []byte) (time.Duration, error) {
	i := bytes.LastIndexByte(stat, ')') // the name may hold spaces
	fields := strings.Fields(string(stat[i+1:]))
	if i < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("not a stat file: %.100q", stat)
	}
	var sum int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// Resident is the memory that the process occupies now, in bytes.
func (p *Process) Resident() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return resident(data)
}

// resident reads VmRSS of proc_pid_status(5).
func resident(status []byte) (float64, error) {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kb * 1024, err
		}
	}
	return 0, errors.New("no VmRSS in the status file")
}

// LogTail is the end of what the process printed.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// Post calls a control route and drops the answer.
func (p *Process) Post(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: HTTP %d", path, resp.StatusCode)
	}
	return nil
}
