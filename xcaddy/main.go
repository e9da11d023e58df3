// Command xcaddy builds, runs and demonstrates the gateway from a checkout. It is
// meant to be started with `go run ./xcaddy` and needs Go alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes. A program that the user interrupts ends the way shells expect.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// command is one word after `go run ./xcaddy`.
type command struct {
	name, summary string
	run           func(ctx context.Context, c *console, args []string) error
}

func commands() []command {
	return []command{
		{"build", "compile bin/smithers-gateway from this checkout, with plugins if wanted", buildCommand},
		{"run", "build and serve, with a Caddyfile or from the environment alone", runCommand},
		{"demo", "build, launch a run, cut the connection, resume it: the whole thing in a minute", demoCommand},
		{"licenses", "write the licences of all that a binary is made of", licensesCommand},
	}
}

// usageError is a mistake in the command line: exit status 2 and a hint.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := dispatch(ctx, newConsole(os.Stdout, os.Stderr), os.Args[1:])
	stop()
	os.Exit(code)
}

// dispatch runs one command line and returns the exit status.
func dispatch(ctx context.Context, c *console, args []string) int {
	err := pick(ctx, c, args)
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "xcaddy: %s\nTry `go run ./xcaddy --help`.\n", usage.text)
		return exitUsage
	case ctx.Err() != nil:
		fmt.Fprintln(c.err, "xcaddy: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintf(c.err, "xcaddy: %v\n", err)
		return exitFailure
	}
}

func pick(ctx context.Context, c *console, args []string) error {
	if len(args) == 0 {
		overview(c.err)
		return usagef("which command?")
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		overview(c.out)
		return nil
	}
	for _, cmd := range commands() {
		if cmd.name == args[0] {
			return cmd.run(ctx, c, args[1:])
		}
	}
	return usagef("unknown command %q; the commands are build, run, demo and licenses", args[0])
}

func overview(w io.Writer) {
	fmt.Fprint(w, "Build and try Smithers Gateway for Caddy.\n\nUsage: go run ./xcaddy COMMAND [options]\n\nCommands:\n")
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", cmd.name, cmd.summary)
	}
	fmt.Fprint(w, "\n`go run ./xcaddy COMMAND --help` lists the options of a command.\n")
}

// newFlags makes the flag set of a command; about is the text above the options.
func newFlags(c *console, name, about string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed once, by dispatch
	fs.Usage = func() {
		fmt.Fprintf(c.out, "%s\n\nOptions:\n", about)
		fs.SetOutput(c.out)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// parse reads args and refuses what is left over.
func parse(fs *flag.FlagSet, args []string) error {
	usage := fs.Usage
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage()
		return err
	case err != nil:
		return usagef("%s: %v", fs.Name(), err)
	case fs.NArg() > 0:
		return usagef("%s: unexpected argument %q", fs.Name(), fs.Arg(0))
	}
	return nil
}
