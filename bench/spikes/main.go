// Command spikes measures on the real servers what docs/scaling.md plans with: the
// journal and leases in Postgres, the windows of events in NATS JetStream, and the same
// units in SQLite beside them. Everything runs on loopback in a temporary folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "holder" {
		fail(hold(context.Background(), os.Args[2], os.Args[3]))
		return
	}
	nats := flag.String("nats", "nats-server", "the nats-server binary")
	took := flag.Duration("time", 3*time.Second, "of each measurement of a rate")
	flag.Parse()
	fail(run(*nats, *took))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "spikes:", err)
		os.Exit(1)
	}
}

func run(nats string, took time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
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
	return errors.Join(sqliteSpike(ctx, folder, took), postgresSpike(ctx, folder, took), natsSpike(ctx, nats, folder, took))
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

// commits measures lone and batched units; commit writes the units [first, first+n).
func commits(name string, took time.Duration, commit func(first, n int) error) error {
	lone, err := rate(took, 1, func(n int) error { return commit(n, 1) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	row(name+", one unit a transaction", "%.0f units/s, %.2f ms each", lone, 1000/lone)
	many, err := rate(took, batch, func(n int) error { return commit(1_000_000+n*batch, batch) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	row(fmt.Sprintf("%s, %d units a transaction", name, batch), "%.0f units/s", many)
	return nil
}
