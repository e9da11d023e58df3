// Package upgrade opens databases of earlier versions and restores copies of living
// ones.
package upgrade

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

//go:embed gateway.mjs
var module string

// generate writes the database of the current schema version into testdata. Run it
// once for each new version, with the binary that introduces it, and keep the files:
//
//	go test ./e2e/upgrade -run TestGenerate -generate
var generate = flag.Bool("generate", false, "write testdata of the current schema version")

// memory is what is remembered beside a database of testdata: its runs as they were,
// with all their events.
type memory struct {
	Runs map[string]remembered
}

type remembered struct {
	Status string
	Events []*client.RunEvent
}

func TestGenerate(t *testing.T) {
	if !*generate {
		t.Skip("only with -generate")
	}
	s := rig.NewSite(t, module)
	p := s.Start().As(s.Issue(rig.AllScopes, "alice")).Accepts()
	runs := map[string]string{ // id: status to wait for
		"finished": "finished", "failed": "failed", "cancelled": "cancelled", "gated": "waiting-approval", "signalled": "waiting-event",
		"asleep": "waiting-timer", "parent": "waiting-event", "hanging": "running", "paused": "paused",
	}
	p.LaunchRun("quick", "finished", nil)
	p.LaunchRun("broken", "failed", nil)
	p.LaunchRun("gated", "cancelled", nil)
	p.LaunchRun("gated", "gated", nil)
	p.LaunchRun("signalled", "signalled", map[string]any{"corr": "c"})
	p.LaunchRun("asleep", "asleep", map[string]any{"ms": 5000})
	p.LaunchRun("parent", "parent", nil)
	p.LaunchRun("hanging", "hanging", nil)
	p.LaunchRun("chatty", "paused", map[string]any{"rounds": 50})
	require.NoError(t, p.Call(t.Context(), "pauseRun", map[string]any{"runId": "paused"}, nil))
	p.Status("cancelled", "waiting-approval")
	require.NoError(t, p.Call(t.Context(), "cancelRun", map[string]any{"runId": "cancelled"}, nil))
	p.Wait("the hanging task", func() bool {
		r, err := p.Run(t.Context(), "hanging")
		return err == nil && r.Summary["in-progress"] == 1
	})
	m := memory{Runs: map[string]remembered{}}
	for id, status := range runs {
		p.Status(id, status)
		m.Runs[id] = remembered{status, history(t, p, id)}
	}
	p.Kill()
	require.FileExists(t, s.DB)
	version := schemaVersion(t, s.DB) // opening and closing it also folds the log into the file
	pack(t, s.DB, testdata(version)+".db.gz")
	text, err := json.MarshalIndent(m, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(testdata(version)+".json", text, 0o644))
}

func testdata(version int) string {
	return filepath.Join("testdata", fmt.Sprintf("schema-%04d", version))
}

func schemaVersion(t *testing.T, path string) (version int) {
	t.Helper()
	query(t, path, func(db *sql.DB) {
		require.NoError(t, db.QueryRow("SELECT max(version) FROM gateway_schema").Scan(&version))
	})
	return version
}

func query(t *testing.T, path string, do func(*sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	do(db)
}

func pack(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	file, err := os.Create(to)
	require.NoError(t, err)
	defer file.Close()
	z, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	require.NoError(t, err)
	_, err = z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	file, err := os.Open(from)
	require.NoError(t, err)
	defer file.Close()
	z, err := gzip.NewReader(file)
	require.NoError(t, err)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o600))
}

// TestEveryEarlierVersionOpens migrates each database of testdata and goes on with
// its runs.
func TestEveryEarlierVersionOpens(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "schema-*.db.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := rig.NewSite(t, module)
			unpack(t, file, s.DB)
			text, err := os.ReadFile(file[:len(file)-len(".db.gz")] + ".json")
			require.NoError(t, err)
			var m memory
			require.NoError(t, json.Unmarshal(text, &m))
			require.Len(t, m.Runs, 9)
			p := s.Start().As(s.Issue(rig.AllScopes, "alice")).Accepts()

			p.Status("asleep", "finished")
			p.Status("hanging", "finished")
			require.NoError(t, decide(p, "gated"))
			require.NoError(t, decide(p, "parent:child:gated:0"))
			require.NoError(t, p.Call(t.Context(), "submitSignal", map[string]any{"runId": "signalled", "signalName": "go", "correlationId": "c"}, nil))
			require.NoError(t, p.Call(t.Context(), "resumeRun", map[string]any{"runId": "paused"}, nil))
			for id, was := range m.Runs {
				switch was.Status {
				case "failed", "cancelled":
					p.Status(id, was.Status)
				default:
					p.Status(id, "finished")
				}
				now := history(t, p, id)
				require.GreaterOrEqual(t, len(now), len(was.Events))
				for i, e := range was.Events {
					require.Equal(t, e.Seq, now[i].Seq)
					require.Equal(t, e.StateVersion, now[i].StateVersion)
					require.Equal(t, e.Event, now[i].Event)
					require.JSONEq(t, string(e.Payload), string(now[i].Payload))
				}
			}
			for _, line := range p.Errors() {
				t.Errorf("logged: %s", line)
			}
		})
	}
}

// TestThisVersionIsInTestdata reminds of the generator.
func TestThisVersionIsInTestdata(t *testing.T) {
	s := rig.NewSite(t, module)
	s.Start().Terminate()
	file := testdata(schemaVersion(t, s.DB)) + ".db.gz"
	require.FileExists(t, file, "a new schema version: go test ./e2e/upgrade -run TestGenerate -generate")
	kept := filepath.Join(t.TempDir(), "kept.db")
	unpack(t, file, kept)
	// A version that is out is never edited. One that is not yet: generate again.
	require.Equal(t, schema(t, s.DB), schema(t, kept), "the schema of testdata is not the one that this version makes")
}

// schema maps the objects of a database to their definitions.
func schema(t *testing.T, path string) map[string]string {
	t.Helper()
	objects := map[string]string{}
	query(t, path, func(db *sql.DB) {
		rows, err := db.Query("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema")
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var name, text string
			require.NoError(t, rows.Scan(&name, &text))
			objects[name] = text
		}
		require.NoError(t, rows.Err())
	})
	require.NotEmpty(t, objects)
	return objects
}

func TestNewerVersionIsRefused(t *testing.T) {
	s := rig.NewSite(t, module)
	s.Start().Terminate()
	query(t, s.DB, func(db *sql.DB) {
		_, err := db.Exec("INSERT INTO gateway_schema SELECT 999, 1")
		require.NoError(t, err)
	})
	before, err := os.ReadFile(s.DB)
	require.NoError(t, err)
	p := s.Launch()
	require.NotZero(t, p.Exits())
	for _, word := range []string{s.DB, "schema 999", "newer"} {
		require.Contains(t, p.Log.String(), word)
	}
	after, err := os.ReadFile(s.DB)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(before), sha256.Sum256(after), "the file is as it was")
}

func decide(p *rig.Process, run string) error {
	return p.Call(p.T.Context(), "submitApproval", map[string]any{"runId": run, "nodeId": "gate", "approved": true}, nil)
}

// history reads the events of a run so far.
func history(t *testing.T, p *rig.Process, run string) []*client.RunEvent {
	t.Helper()
	events, gap := behind(t, p, run, 0)
	require.Nil(t, gap)
	return events
}

// behind reads what a stream with a cursor is sent until it has caught up, and holds
// that it has no hole.
func behind(t *testing.T, p *rig.Process, run string, after int64) (events []*client.RunEvent, gap *client.Gap) {
	t.Helper()
	socket := p.Dial()
	defer socket.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	opened, err := socket.Stream(ctx, run, &after)
	require.NoError(t, err)
	next := after + 1
	if next > opened.CurrentSeq {
		return nil, nil
	}
	err = socket.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		switch {
		case i.Error != nil:
			t.Errorf("%s: %v", run, i.Error)
			return false
		case i.Gap != nil:
			if gap != nil || len(events) > 0 || i.Gap.FromSeq != next {
				t.Errorf("%s: gap from %d to %d after %d", run, i.Gap.FromSeq, i.Gap.ToSeq, next-1)
			}
			gap, next = i.Gap, i.Gap.ToSeq+1
		default:
			if i.Event.Seq != next && (i.Event.Seq < raised || next > raised) { // a restore leaves one hole
				t.Errorf("%s: event %d after %d", run, i.Event.Seq, next-1)
			}
			events, next = append(events, i.Event), i.Event.Seq+1
			if i.Event.Event == "run.completed" {
				return false
			}
		}
		return next <= opened.CurrentSeq
	})
	require.NoError(t, err, "%s: waited for %d after %d, the current number is %d", run, next, after, opened.CurrentSeq)
	return events, gap
}
