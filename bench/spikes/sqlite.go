package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // as the gateway's store
)

// sqliteSpike has the gateway's settings: WAL, every commit synced, one connection.
func sqliteSpike(ctx context.Context, folder string, took time.Duration) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "spike.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, q := range []string{
		"CREATE TABLE journal (run INTEGER, node INTEGER, output BLOB, PRIMARY KEY (run, node)) WITHOUT ROWID",
		"CREATE TABLE events (run INTEGER, seq INTEGER, payload BLOB, PRIMARY KEY (run, seq)) WITHOUT ROWID",
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	node, err := db.PrepareContext(ctx, "INSERT INTO journal VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	event, err := db.PrepareContext(ctx, "INSERT INTO events VALUES (?, ?, ?)")
	if err != nil {
		return err
	}
	return commits("SQLite, synchronous=FULL", took, func(first, n int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for i := first; i < first+n; i++ {
			_, a := tx.StmtContext(ctx, node).ExecContext(ctx, i%16, i, payload)
			_, b := tx.StmtContext(ctx, event).ExecContext(ctx, i%16, 2*i, payload)
			_, c := tx.StmtContext(ctx, event).ExecContext(ctx, i%16, 2*i+1, payload)
			if err := errors.Join(a, b, c); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		return tx.Commit()
	})
}
