package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/xcaddy"
)

// Pace of progress lines: a terminal's line is rewritten, a log gets a new one.
const (
	terminalPace = 200 * time.Millisecond
	logPace      = 15 * time.Second
	tailLines    = 40
)

// progress shows what a build is doing, how long it has taken and how many
// packages are compiled. It is safe for concurrent use.
type progress struct {
	c     *console
	total int // packages of a build from nothing; 0: unknown
	start time.Time
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu       sync.Mutex
	step     string
	packages int
	lines    []string // the last of what the current step printed
	lost     string   // the first line of any step that says the network is away
}

func newProgress(c *console, total int) *progress {
	p := &progress{c: c, total: total, start: time.Now(), stop: make(chan struct{}), done: make(chan struct{})}
	go p.show()
	return p
}

// begin names the next step.
func (p *progress) begin(step string) {
	p.mu.Lock()
	news := p.step != step
	p.step, p.lines = step, nil
	p.mu.Unlock()
	if news && !p.c.terminal {
		p.c.note("  %s", p.line())
	}
}

// follow reads a step's output to its end. While compiling, each line that names
// a package counts. each, if not nil, is called with every line.
func (p *progress) follow(r io.Reader, compiling bool, each func(line string)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if each != nil {
			each(line)
		}
		p.mu.Lock()
		if compiling && isPackage(line) {
			p.packages++
		} else {
			p.lines = append(p.lines, line)
			if p.lost == "" && saysOffline(line) {
				p.lost = strings.TrimSpace(line)
			}
			if len(p.lines) > tailLines {
				p.lines = p.lines[1:]
			}
		}
		p.mu.Unlock()
	}
	return s.Err()
}

// run runs a command that compiles and follows what it prints.
func (p *progress) run(cmd *exec.Cmd) error {
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	done := make(chan error, 1)
	go func() {
		err := cmd.Run()
		_ = w.Close() // cannot fail
		done <- err
	}()
	err := p.follow(r, true, nil)
	_ = r.CloseWithError(err) // who stops reading must not leave the command writing for ever
	return errors.Join(err, <-done)
}

// isPackage tells a package path, as go build -v prints it, from a message.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t:#")
}

func (p *progress) show() {
	defer close(p.done)
	pace := logPace
	if p.c.terminal {
		pace = terminalPace
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			if p.c.terminal {
				p.overwrite("")
			}
			return
		case <-tick.C:
			if p.c.terminal {
				p.overwrite("  " + p.line())
			} else {
				p.c.note("  %s", p.line())
			}
		}
	}
}

func (p *progress) overwrite(line string) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	fmt.Fprintf(p.c.err, "\r\x1b[2K%s", line)
}

func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s  %s", short(time.Since(p.start)), p.step)
	switch {
	case p.packages == 0:
		return text
	case p.total > 0:
		return fmt.Sprintf("%s  %d packages compiled (%d in a build from nothing)", text, p.packages, p.total)
	default:
		return fmt.Sprintf("%s  %d packages compiled", text, p.packages)
	}
}

// close ends the display; it may be called more than once.
func (p *progress) close() {
	p.once.Do(func() { close(p.stop) })
	<-p.done
}

// tail returns the last lines the current step printed.
func (p *progress) tail() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// offline returns the line that says no module proxy answered, or "".
func (p *progress) offline() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (p *progress) current() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.step
}

func stepText(s xcaddy.Step) string {
	switch s {
	case xcaddy.StepCreateEnvironment, xcaddy.StepInitializeModule:
		return "preparing the build module"
	case xcaddy.StepPinVersions, xcaddy.StepTidyModule:
		return "resolving and fetching modules"
	case xcaddy.StepWindowsResources:
		return "writing Windows resources"
	case xcaddy.StepCompile:
		return "compiling"
	case xcaddy.StepCleanup:
		return "cleaning up"
	}
	return strings.ReplaceAll(string(s), "_", " ")
}

// short prints a duration for people: 0.4s, 12s, 2m05s.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
