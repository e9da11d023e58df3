//go:build unix

package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// process is one run of the script with everything that belongs to it.
type process struct {
	cmd      *exec.Cmd
	guard    *exec.Cmd // nil: there is no shell to run it
	guarded  *os.File  // write end of the guard's own lifeline
	lifeline *os.File  // write end; its close tells guard and script that they are alone
	reports  chan report
	ended    chan struct{} // closed when nothing of the process is left
	err      error         // why it ended; valid after ended

	mu sync.Mutex // of writes to lifeline
}

// guardScript kills the process group when the lifeline ends without a word, which is
// when the gateway has ended without cleaning up.
const guardScript = `read -r word <&3 || kill -9 -"$0"`

// spawn starts the script. Every report goes to the channel of the process, which must
// be read until it is closed; out takes the lines of its output.
func spawn(launch launchSpec, out *output) (child, error) {
	p := &process{reports: make(chan report, 16), ended: make(chan struct{})}
	pipes, err := openPipes(4)
	if err != nil {
		return nil, err
	}
	life, reports, stdout, stderr := pipes[0], pipes[1], pipes[2], pipes[3]
	// Without node_modules Bun would fetch packages by itself, any version of them.
	p.cmd = exec.Command(launch.runtime, "--no-install", launch.script)
	p.cmd.Dir, p.cmd.Env = launch.dir, launch.env
	p.cmd.Stdout, p.cmd.Stderr = stdout.w, stderr.w
	p.cmd.ExtraFiles = []*os.File{life.r, reports.w}
	p.cmd.SysProcAttr = attributes()
	p.lifeline = life.w

	started := make(chan error)
	go func() {
		// The kernel's kill of orphans is tied to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err == nil {
			p.startGuard()
		}
		for _, f := range []*os.File{life.r, reports.w, stdout.w, stderr.w} {
			_ = f.Close()
		}
		started <- err
		if err != nil {
			return
		}
		p.wait(reports.r, stdout.r, stderr.r, out)
	}()
	if err := <-started; err != nil {
		for _, f := range []*os.File{life.w, reports.r, stdout.r, stderr.r} {
			_ = f.Close()
		}
		return nil, fmt.Errorf("start %s: %w", launch.runtime, err)
	}
	return p, p.send(launch.config)
}

func (p *process) startGuard() {
	shell, err := exec.LookPath("/bin/sh")
	if err != nil {
		return
	}
	pipe, err := openPipes(1)
	if err != nil {
		return
	}
	g := exec.Command(shell, "-c", guardScript, strconv.Itoa(p.PID()))
	g.Dir, g.Env = "/", []string{}
	g.ExtraFiles = []*os.File{pipe[0].r}
	g.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: p.PID()}
	err = g.Start()
	_ = pipe[0].r.Close()
	if err != nil {
		_ = pipe[0].w.Close()
		return
	}
	p.guard, p.guarded = g, pipe[0].w
}

// wait reads what the process says until it has ended, then clears up after it.
func (p *process) wait(reports, stdout, stderr *os.File, out *output) {
	var readers sync.WaitGroup
	readers.Go(func() { readReports(reports, func(r report) { p.reports <- r }) })
	readers.Go(func() { out.read(stdout, false) })
	readers.Go(func() { out.read(stderr, true) })
	p.err = p.cmd.Wait()
	p.killGroup()
	// Who has left the group may hold the pipes open; nobody waits for those.
	for _, f := range []*os.File{reports, stdout, stderr} {
		_ = f.SetReadDeadline(time.Now().Add(time.Second))
	}
	readers.Wait()
	out.end()
	for _, f := range []*os.File{reports, stdout, stderr} {
		_ = f.Close()
	}
	p.mu.Lock()
	_ = p.lifeline.Close()
	p.mu.Unlock()
	close(p.reports)
	close(p.ended)
}

// killGroup ends what the process started. The guard is in the group and not waited
// for before, so the number of the group cannot mean another one yet.
func (p *process) killGroup() {
	if p.guard == nil {
		return
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	_ = p.guard.Wait()
	_ = p.guarded.Close()
	reapGroup(p.PID())
}

// reapGroup waits for orphans of the group that fell to this process because it is the
// first one of its container.
func reapGroup(group int) {
	for range 100 {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return // nobody is left
		case pid == 0:
			time.Sleep(10 * time.Millisecond) // killed, not ended yet
		}
	}
}

func (p *process) PID() int                { return p.cmd.Process.Pid }
func (p *process) Reports() <-chan report  { return p.reports }
func (p *process) Ended() <-chan struct{}  { return p.ended }
func (p *process) Err() error              { return exitError(p.err, p.cmd.ProcessState) }
func (p *process) Terminate()              { _ = p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *process) Memory() int64           { return residentBytes(p.PID()) }
func (p *process) Command(c command) error { return p.send(c) }

// Kill ends the process; its group follows when it has been waited for.
func (p *process) Kill() { _ = p.cmd.Process.Kill() }

// send writes one line to the script.
func (p *process) send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.lifeline.SetWriteDeadline(time.Now().Add(sendLimit))
	_, err = p.lifeline.Write(append(line, '\n'))
	return err
}

// sendLimit is how long a process may leave its commands unread.
const sendLimit = 5 * time.Second

func exitError(err error, state *os.ProcessState) error {
	if err == nil {
		return errors.New("it ended by itself")
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Errorf("it was ended by signal %d (%s)", ws.Signal(), ws.Signal())
	}
	return fmt.Errorf("it ended with %w", err)
}

type pipe struct{ r, w *os.File }

// openPipes opens n pipes, or none.
func openPipes(n int) (_ []pipe, err error) {
	pipes := make([]pipe, 0, n)
	for range n {
		r, w, err := os.Pipe()
		if err != nil {
			for _, p := range pipes {
				err = errors.Join(err, p.r.Close(), p.w.Close())
			}
			return nil, err
		}
		pipes = append(pipes, pipe{r, w})
	}
	return pipes, nil
}
