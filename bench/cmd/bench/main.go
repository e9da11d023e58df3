// Command bench measures the gateway against its peers and writes RESULTS.md. Run it
// with `make bench`; -help tells the rest.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/smithersai/caddy-smithers/bench/report"
	"github.com/smithersai/caddy-smithers/bench/scenarios"
)

type options struct {
	run    *regexp.Regexp
	rounds int
	quick  bool
	tiny   bool
	list   bool
	binary string
	out    string
}

func parse(args []string) (options, error) {
	o := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), "Usage: go run ./cmd/bench [options], in the folder bench\n\n")
		fs.PrintDefaults()
	}
	pattern := fs.String("run", "", "only scenarios whose name matches this `expression`")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	fs.BoolVar(&o.quick, "quick", false, "smaller and one round unless -rounds says otherwise; results stay in .cache/quick")
	fs.BoolVar(&o.tiny, "tiny", false, "only see that everything works; results stay in .cache/tiny")
	fs.BoolVar(&o.list, "list", false, "list the scenarios")
	fs.StringVar(&o.binary, "binary", "", "gateway to measure, compiled with bench/driver (default: build it)")
	fs.StringVar(&o.out, "out", "", "folder for RESULTS.md (default: this one)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	given := false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "rounds" })
	if (o.quick || o.tiny) && !given {
		o.rounds = 1
	}
	if fs.NArg() > 0 || o.rounds < 1 {
		return o, fmt.Errorf("bench: -rounds must be above 0 and nothing may follow the options: %q", fs.Args())
	}
	var err error
	if o.run, err = regexp.Compile("^(" + *pattern + ")"); err != nil {
		return o, fmt.Errorf("bench: -run: %w", err)
	}
	switch {
	case o.out != "":
	case o.tiny:
		o.out = filepath.Join(".cache", "tiny")
	case o.quick:
		o.out = filepath.Join(".cache", "quick")
	default:
		o.out = "."
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	switch {
	case err == flag.ErrHelp:
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	var chosen []scenarios.Scenario
	var names []string
	for _, s := range scenarios.All() {
		names = append(names, s.Name)
		if o.run.MatchString(s.Name) {
			chosen = append(chosen, s)
		}
	}
	if o.list {
		for _, s := range scenarios.All() {
			fmt.Printf("%-10s %s\n", s.Name, s.Title)
		}
		return nil
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no scenario matches; there are %s", strings.Join(names, ", "))
	}
	env, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	// The folders of all servers lie in one that is new. The gateway watches the folder above that of
	// its token store, and Linux then marks every name in it that it remembers: in a /tmp where a
	// million files came and went, no other step of a start took a profiler longer.
	temp, err := os.MkdirTemp("", "smithers-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Setenv("TMPDIR", temp); err != nil {
		return err
	}
	raiseFiles()
	debug.SetGCPercent(400) // the client's garbage is not what is measured
	folder := report.Folder(filepath.Join(o.out, ".cache", "results"))
	if len(chosen) == len(names) {
		if err := folder.Clear(); err != nil {
			return err
		}
	}
	commit := commitOf(ctx)
	failed := 0
	for _, s := range chosen {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fmt.Printf("== %s: %s\n", s.Name, s.Title)
		start := time.Now()
		env.Say = func(format string, args ...any) {
			fmt.Printf("%4.0fs "+format+"\n", append([]any{time.Since(start).Seconds()}, args...)...)
		}
		r := s.Run(ctx, env)
		r.Commit = commit
		tell(r)
		if r.Error != "" {
			failed++
		}
		if err := folder.Save(r); err != nil {
			return err
		}
		all, err := folder.Load(names)
		if err != nil {
			return err
		}
		if err := report.Write(o.out, machine(ctx, env), all); err != nil {
			return err
		}
	}
	fmt.Printf("results are in %s\n", filepath.Join(o.out, "RESULTS.md"))
	if failed > 0 {
		return fmt.Errorf("%d of %d scenarios failed; the results say how", failed, len(chosen))
	}
	return nil
}

func tell(r *report.Result) {
	for _, f := range r.Figures {
		fmt.Printf("   %-28s %-52s %12s %s\n", f.Who, f.What, report.Number(f.Median()), f.Unit)
	}
	for _, g := range r.Goals {
		met := "MET"
		if !g.Met() {
			met = "not met"
		}
		have := report.Number(g.Have) + " " + g.Unit
		if g.Missing != "" {
			have = g.Missing
		}
		fmt.Printf("   %-8s %s: %s (goal %s)\n", met, g.What, have, report.Number(g.Want))
	}
	if r.Error != "" {
		fmt.Printf("   FAILED: %s\n", r.Error)
	}
	fmt.Printf("   %s\n", r.Took.Round(100*time.Millisecond))
}
