package scenarios

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // copies rows of the original's database, and measures the gateway's

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// fewAtOnce is how many connects are under way together where the original is compared.
// It works on one at a time and drops a socket that has not signed in after 10 s.
const fewAtOnce = 4

// listed is how many runs a hello lists, and how many live runs the original has here:
// beside 5,000 it answers no connect within a minute.
const listed = 1_000

// connects measures sockets that come all at once, as after a restart of a proxy.
func connects(ctx context.Context, e *Env) error {
	live, burst := e.Pick(5_000, 1_000, 50), e.Pick(1_000, 300, 50)
	e.Note("A connect is TCP, upgrade, `connect` and its hello, which lists the newest 1,000 live runs. In a burst all start together; for the comparison with the original 4 are under way at a time.")
	e.Note("The original has 1,000 live runs, as beside 5,000 it answers no connect within a minute; they are copies of the row of one parked run, written into its database before it starts, as it would take minutes to launch them; its rounds have 12 connects.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	defer g.Stop()
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "live-")
	if err != nil {
		return err
	}
	err = l.many(ctx, "parked", live, false)
	l.close()
	if err != nil {
		return err
	}
	if err := g.Until(ctx, "all runs to leave memory", func(h *peers.Health) bool { return h.Runs.Live == 0 }); err != nil {
		return err
	}
	for range e.Rounds {
		for _, limit := range []int{burst, fewAtOnce} {
			if err := e.burstOf(ctx, "gateway", g.Process, g.Token, burst, limit); err != nil {
				return err
			}
			err := g.Until(ctx, "the sockets to end", func(h *peers.Health) bool { return h.Connections.Authenticated+h.Connections.PreAuth == 0 })
			if err != nil {
				return err
			}
		}
	}
	if e.Size == Tiny {
		return nil
	}
	return e.originalConnects(ctx, live)
}

func connectsGoals(e *Env) {
	figure := connectsName(fewAtOnce)
	what := "connects a second against the original, 4 at a time"
	if f := e.Find("original", figure); f != nil && len(f.Rounds) < e.Rounds {
		what += fmt.Sprintf(" (which served them in %d of %d rounds)", len(f.Rounds), e.Rounds)
	}
	e.Ratio(what, [2]string{"gateway", figure}, [2]string{"original", figure}, "×", true, 40)
}

func connectsName(limit int) string { return fmt.Sprintf("connects/s, %d at a time", limit) }

// burstOf opens n sockets, limit at a time, and closes them again.
func (e *Env) burstOf(ctx context.Context, who string, p *peers.Process, token string, n, limit int) error {
	d := client.Dialer{Addr: p.Addr}
	times := make(stats.Times, n)
	all := make([]*client.Socket, n)
	var bytes atomic.Int64
	defer func() {
		for _, s := range all {
			if s != nil {
				s.Close()
			}
		}
	}()
	var wall time.Duration
	cpu, err := cpuOver(p, func() error {
		begin := time.Now()
		err := client.Each(ctx, n, limit, func(ctx context.Context, i int) error {
			start := begin // in a burst all want to connect from its beginning
			if limit < n {
				start = time.Now()
			}
			s, err := d.Dial(ctx, i)
			if err != nil {
				return err
			}
			all[i] = s
			if _, err := s.Connect(token, nil); err != nil {
				return err
			}
			times[i] = time.Since(start)
			bytes.Add(s.Bytes)
			return nil
		})
		wall = time.Since(begin)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s, %d connects: %w", who, n, err)
	}
	e.Add(who, connectsName(limit), "connects/s", float64(n)/wall.Seconds())
	e.Add(who, fmt.Sprintf("hello p50, %d at a time", limit), "ms", times.Percentile(50))
	e.Add(who, fmt.Sprintf("hello p99, %d at a time", limit), "ms", times.Percentile(99))
	e.Add(who, fmt.Sprintf("server CPU of a connect, %d at a time", limit), "ms", cpu/float64(n)*1e3)
	e.Add(who, "bytes of a connect", "KiB", float64(bytes.Load())/float64(n)/1024)
	return nil
}

func (e *Env) originalConnects(ctx context.Context, live int) error {
	p, err := e.Original(ctx)
	if p == nil || err != nil {
		return err
	}
	runID, err := p.Launch(ctx, "parked", nil)
	if err != nil {
		return err
	}
	if err := statusOf(ctx, p.Client, runID, "waiting-approval"); err != nil {
		return err
	}
	p.Kill()
	if err := copyRun(ctx, filepath.Join(p.Dir, "smithers.db"), runID, min(live, listed)-1); err != nil {
		return fmt.Errorf("copying runs of the original: %w", err)
	}
	if err := p.Restart(ctx); err != nil {
		return err
	}
	for round := range e.Rounds {
		if err := e.burstOf(ctx, "original", p.Process, p.Tokens[0], 3*fewAtOnce, fewAtOnce); err != nil {
			if ctx.Err() == nil {
				e.Note("The original did not serve all of its connects in round %d of %d, and was not asked again: %v.", round+1, e.Rounds, err)
			}
			return ctx.Err()
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil { // it has no count of sockets to wait for
			return err
		}
	}
	e.Say("original: %s connects/s", report.Number(e.Find("original", connectsName(fewAtOnce)).Median()))
	return nil
}

// copyRun adds n copies of a run's row under ids of their own.
func copyRun(ctx context.Context, path, runID string, n int) error {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		"CREATE TEMP TABLE c AS SELECT * FROM _smithers_runs WHERE run_id = '" + runID + "'",
		fmt.Sprintf("CREATE TEMP TABLE n AS WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i < %d) SELECT i FROM s", n),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT name FROM pragma_table_info('_smithers_runs') WHERE name <> 'run_id'")
	if err != nil {
		return err
	}
	columns := ""
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		columns += ", " + name
	}
	if err := rows.Err(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "INSERT INTO _smithers_runs (run_id"+columns+") SELECT c.run_id || '-' || n.i"+columns+" FROM c, n")
	return err
}
