package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// console is where a command talks to the person who started it. Colours appear
// only on a terminal and never when NO_COLOR is set (no-color.org).
type console struct {
	mu       sync.Mutex
	out, err io.Writer
	colour   bool
	terminal bool // err is a terminal: progress may overwrite its line
}

func newConsole(out, errOut *os.File) *console {
	_, noColour := os.LookupEnv("NO_COLOR")
	return &console{
		out: out, err: errOut,
		colour:   term.IsTerminal(int(out.Fd())) && !noColour && os.Getenv("TERM") != "dumb",
		terminal: term.IsTerminal(int(errOut.Fd())) && os.Getenv("TERM") != "dumb",
	}
}

// Styles of the eight basic colours, readable on light and dark terminals.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	purple = "35"
	cyan   = "36"
)

func (c *console) paint(style, text string) string {
	if !c.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// say prints one line of the story on stdout.
func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format+"\n", args...)
}

// step announces the next part of the story.
func (c *console) step(format string, args ...any) {
	c.say("\n%s", c.paint(bold, "▸ "+fmt.Sprintf(format, args...)))
}

// note prints one line about the work itself on stderr.
func (c *console) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.err, format+"\n", args...)
}
