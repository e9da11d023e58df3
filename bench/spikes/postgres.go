package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// commitSpike sets the store and Postgres side by side, round by round, so that what else
// the machine does meets both; then leases, on the same server.
func commitSpike(ctx context.Context, folder string, took time.Duration, rounds int) error {
	dsn, stop, err := startPostgres(ctx, filepath.Join(folder, "pg"))
	if err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	defer stop()
	c, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer c.Close(context.Background())
	store, err := openStore(ctx, folder)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `CREATE TABLE journal (run int, node int, output bytea, PRIMARY KEY (run, node));
		CREATE TABLE events (run int, seq int, payload bytea, PRIMARY KEY (run, seq));
		CREATE TABLE leases (run int PRIMARY KEY, holder text, epoch bigint, until timestamptz);
		INSERT INTO leases VALUES (1, '', 0, now())`); err != nil {
		return err
	}
	next := 0
	commit := func(n int) error {
		b := &pgx.Batch{} // one implicit transaction, one round trip
		for range n {
			b.Queue("INSERT INTO journal VALUES ($1, $2, $3)", next%16, next, payload)
			b.Queue("INSERT INTO events VALUES ($1, $2, $3), ($1, $4, $3)", next%16, 2*next, payload, 2*next+1)
			next++
		}
		return c.SendBatch(ctx, b).Close()
	}
	var ours, theirs []units
	for range rounds {
		s, err := store.measure(ctx, took)
		if err != nil {
			return err
		}
		var p units
		if p.lone, err = rate(took, 1, func(int) error { return commit(1) }); err != nil {
			return err
		}
		if p.many, err = rate(took, batch, func(int) error { return commit(batch) }); err != nil {
			return err
		}
		ours, theirs = append(ours, s), append(theirs, p)
	}
	report(ours, theirs)
	return leases(ctx, c, dsn)
}

// connect waits for the server.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	for {
		c, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func startPostgres(ctx context.Context, data string) (dsn string, stop func(), err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", nil, errors.New("the Debian package postgresql is not installed")
	}
	bin := filepath.Dir(found[len(found)-1])
	attr := &syscall.SysProcAttr{}
	if err := os.Mkdir(data, 0o700); err != nil {
		return "", nil, err
	}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return "", nil, err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(data, int(uid), int(gid)); err != nil {
			return "", nil, err
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = data, attr
		return cmd
	}
	if out, err := command("initdb", "-D", data, "-U", "spike", "-A", "trust").CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	// The socket's folder is the data's: no port is taken.
	server := command("postgres", "-D", data, "-k", data, "-c", "listen_addresses=")
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	return "host=" + data + " user=spike dbname=postgres", func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
	}, nil
}
