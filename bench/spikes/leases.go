package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// How leases are kept here. ttl is what a killed holder costs at most.
const (
	ttl    = time.Second
	renew  = ttl / 4
	poll   = 50 * time.Millisecond
	rounds = 5
)

const take = `UPDATE leases SET holder = $1, epoch = epoch + 1, until = now() + $2 WHERE run = 1 AND until < now() RETURNING epoch`

// hold is the process that is killed: it has the lease, says so, and renews it.
func hold(ctx context.Context, dsn, how string) error {
	c, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	if how == "lock" {
		if _, err := c.Exec(ctx, "SELECT pg_advisory_lock(1)"); err != nil {
			return err
		}
		fmt.Println("held")
		select {} // until it is killed
	}
	var epoch int64
	for errors.Is(c.QueryRow(ctx, take, "holder", ttl).Scan(&epoch), pgx.ErrNoRows) {
		time.Sleep(poll)
	}
	fmt.Println("held")
	for {
		tag, err := c.Exec(ctx, "UPDATE leases SET until = now() + $1 WHERE run = 1 AND epoch = $2", ttl, epoch)
		if err != nil || tag.RowsAffected() == 0 {
			return errors.Join(err, errors.New("the lease is lost"))
		}
		time.Sleep(renew)
	}
}

// leases kills holders and measures how long their lease outlives them.
func leases(ctx context.Context, c *pgx.Conn, dsn string) error {
	for _, how := range []string{"lock", "row"} {
		var took []time.Duration
		for range rounds {
			d, err := takeOver(ctx, c, dsn, how)
			if err != nil {
				return fmt.Errorf("lease by %s: %w", how, err)
			}
			took = append(took, d)
		}
		slices.Sort(took)
		what := map[string]string{"lock": "Lease as a session's advisory lock", "row": "Lease as a row of 1 s with an epoch"}[how]
		row(what+": taken over after kill -9", "%.0f ms (median of %d, worst %.0f)", ms(took[rounds/2]), rounds, ms(took[rounds-1]))
	}
	return fence(ctx, c)
}

// fence shows what the epoch is for: a holder writes until another has the lease, and its
// late write, when it only seemed dead, is not taken.
func fence(ctx context.Context, c *pgx.Conn) error {
	var epoch int64
	if err := c.QueryRow(ctx, take, "former", 0*time.Second).Scan(&epoch); err != nil {
		return err
	}
	write := func(want int64) error {
		tag, err := c.Exec(ctx, "INSERT INTO events SELECT 99, $1, '' FROM leases WHERE run = 1 AND epoch = $2 FOR SHARE", want, epoch)
		if err == nil && tag.RowsAffected() != want {
			err = fmt.Errorf("%d writes of epoch %d were taken, not %d", tag.RowsAffected(), epoch, want)
		}
		return err
	}
	if err := write(1); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, take, "next", 0*time.Second); err != nil {
		return err
	}
	return write(0)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func takeOver(ctx context.Context, c *pgx.Conn, dsn, how string) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	holder := exec.CommandContext(ctx, self, "holder", dsn, how)
	out, err := holder.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := holder.Start(); err != nil {
		return 0, err
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := holder.Process.Kill(); err != nil {
		return 0, err
	}
	defer func() { _ = holder.Wait() }()
	if how == "lock" {
		if _, err := c.Exec(ctx, "SELECT pg_advisory_lock(1)"); err != nil {
			return 0, err
		}
		took := time.Since(begin)
		_, err := c.Exec(ctx, "SELECT pg_advisory_unlock(1)")
		return took, err
	}
	for {
		var epoch int64
		err := c.QueryRow(ctx, take, "next", 0*time.Second).Scan(&epoch)
		if !errors.Is(err, pgx.ErrNoRows) {
			return time.Since(begin), err
		}
		time.Sleep(poll)
	}
}
