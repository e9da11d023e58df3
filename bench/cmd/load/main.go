// Command load measures a built gateway from outside: runs a second, commits a
// second, events appended and delivered a second. It starts the gateway itself, on
// loopback and a temporary folder, and prints one line a figure.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"
)

// options are what the command line says.
type options struct {
	binary   string
	seconds  int
	inFlight int
	sockets  int
	lines    int
	json     bool
}

// figure is one measured number.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "../bin/smithers-gateway", "gateway to measure")
	flag.IntVar(&o.seconds, "seconds", 10, "length of the runs phase")
	flag.IntVar(&o.inFlight, "in-flight", 8, "runs at a time")
	flag.IntVar(&o.sockets, "sockets", 64, "sockets that stream one run")
	flag.IntVar(&o.lines, "lines", 20_000, "events of the streamed run")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	g, err := startGateway(ctx, o.binary)
	if err != nil {
		return err
	}
	defer g.stop()
	var all []figure
	for _, phase := range []func(context.Context, *gateway, options) ([]figure, error){launchRuns, fanOut} {
		figures, err := phase(ctx, g, o)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, g.logTail())
		}
		all = append(all, figures...)
	}
	if o.json {
		return json.NewEncoder(out).Encode(map[string]any{
			"figures": all, "cpus": runtime.NumCPU(), "go": runtime.Version(), "at": time.Now().UTC().Format(time.RFC3339),
		})
	}
	for _, f := range all {
		fmt.Fprintf(out, "%-46s %12.0f %s\n", f.Name, f.Value, f.Unit)
	}
	fmt.Fprintf(out, "load generator and gateway share %d processors\n", runtime.NumCPU())
	return nil
}
