// Command commits measures lone commits: one row, one transaction, synchronous=FULL, at
// a pace, until it is interrupted. It prints the time each took as a JSON array of
// nanoseconds. It is the measure for what an event that is durable costs at least.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	_ "modernc.org/sqlite" // the driver that the gateway uses
)

func main() {
	path := flag.String("db", "lone.db", "database `file` to make")
	every := flag.Duration("every", 10*time.Millisecond, "time between two commits")
	row := flag.Int("row", 300, "`bytes` of a row")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	times, err := run(ctx, *path, *every, *row)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(times)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "commits:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string, every time.Duration, row int) ([]time.Duration, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, payload BLOB)"); err != nil {
		return nil, err
	}
	insert, err := db.Prepare("INSERT INTO t (payload) VALUES (?)")
	if err != nil {
		return nil, err
	}
	defer insert.Close()
	payload := make([]byte, row)
	times := []time.Duration{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return times, nil
		case <-tick.C:
		}
		begin := time.Now()
		if _, err := insert.Exec(payload); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
}
