// Command spikes measures on the real servers what docs/scaling.md plans with: the
// journal and leases in Postgres beside the gateway's own store, the windows of events in
// NATS JetStream. Everything runs on loopback in a temporary folder.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "holder" {
		fail(hold(context.Background(), os.Args[2], os.Args[3]))
		return
	}
	nats := flag.String("nats", "nats-server", "the nats-server binary")
	took := flag.Duration("time", 500*time.Millisecond, "of each measurement of a rate")
	rounds := flag.Int("rounds", 21, "of the store and Postgres")
	flag.Parse()
	fail(run(*nats, *took, max(*rounds, 1)))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "spikes:", err)
		os.Exit(1)
	}
}

func run(nats string, took time.Duration, rounds int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	folder, err := os.MkdirTemp("", "spikes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := os.Chmod(folder, 0o755); err != nil { // Postgres refuses root and gets a user of its own
		return err
	}
	fmt.Println("| what | figure |\n| --- | ---: |")
	return errors.Join(commitSpike(ctx, folder, took, rounds), natsSpike(ctx, nats, folder, took))
}

func row(what, format string, args ...any) {
	fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(format, args...))
}

// batch is how many units one transaction has where the committer is busy. A unit is a
// journal row and two events, what a finished task writes.
const batch = 64

// payload is the size of a usual event.
var payload = []byte(fmt.Sprintf(`{"runId":"r","nodeId":"task","state":"finished","output":%q}`, strings.Repeat("x", 100)))

// rate repeats do for a time and returns units a second.
func rate(took time.Duration, units int, do func(n int) error) (float64, error) {
	begin, n := time.Now(), 0
	for ; time.Since(begin) < took; n++ {
		if err := do(n); err != nil {
			return 0, err
		}
	}
	return float64(n*units) / time.Since(begin).Seconds(), nil
}

// report prints the medians of the rounds, and of the ratios within each.
func report(ours, theirs []units) {
	lone, many := func(u units) float64 { return u.lone }, func(u units) float64 { return u.many }
	median := func(all []units, of func(units) float64) float64 {
		rates := make([]float64, len(all))
		for i, u := range all {
			rates[i] = of(u)
		}
		slices.Sort(rates)
		return rates[len(rates)/2]
	}
	ratios := make([]units, len(ours))
	for i := range ours {
		ratios[i] = units{ours[i].lone / theirs[i].lone, ours[i].many / theirs[i].many}
	}
	for _, k := range []struct {
		what string
		of   func(units) float64
	}{{"one unit after the other", lone}, {fmt.Sprintf("%d units at a time", batch), many}} {
		row("The gateway's store, durability full, "+k.what, "%.0f units/s", median(ours, k.of))
		row("Postgres, synchronous_commit=on, "+k.what, "%.0f units/s", median(theirs, k.of))
		least, most := slices.MinFunc(ratios, func(a, b units) int { return cmp.Compare(k.of(a), k.of(b)) }), slices.MaxFunc(ratios, func(a, b units) int { return cmp.Compare(k.of(a), k.of(b)) })
		row("the first to the second", "%.2f (median of %d rounds, %.2f to %.2f)", median(ratios, k.of), len(ratios), k.of(least), k.of(most))
	}
}
