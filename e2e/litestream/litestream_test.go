// Package litestream loses the disk of a gateway under load and brings it back from
// the replica that Litestream's own binary kept, by the config that deploy/reference
// ships.
package litestream

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// find returns Litestream's binary: the one LITESTREAM names, one in the path, or one
// built from the module proxy by the document's command.
func find(t *testing.T) string {
	t.Helper()
	install := docs.Tested(t, "docs/operations.md", "binary").Script()
	if path := os.Getenv("LITESTREAM"); path != "" {
		return path
	}
	if path, err := exec.LookPath("litestream"); err == nil {
		return path
	}
	_, err := exec.LookPath("bash")
	rig.Need(t, err == nil, "bash")
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	require.Contains(t, install, "GOBIN=/usr/local/bin ")
	cmd := exec.CommandContext(ctx, "bash", "-euc", strings.Replace(install, "/usr/local/bin", dir, 1))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Logf("%s: %v\n%s", install, err, out)
	}
	rig.Need(t, err == nil, "Litestream, which cannot be built here")
	return filepath.Join(dir, "litestream")
}

// replica is Litestream as its unit runs it.
type replica struct {
	t    *testing.T
	unit []string // program and arguments
	env  []string
	log  rig.Buffer
}

func (r *replica) command(args ...string) *exec.Cmd {
	cmd := exec.Command(r.unit[0], args...)
	cmd.Env = append(os.Environ(), r.env...)
	return cmd
}

// replicate runs until the returned function ends it by a signal.
func (r *replica) replicate() (end func(os.Signal)) {
	cmd := r.command(r.unit[1:]...)
	cmd.Stdout, cmd.Stderr = &r.log, &r.log
	require.NoError(r.t, cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	end = func(by os.Signal) {
		_ = cmd.Process.Signal(by)
		<-done
	}
	r.t.Cleanup(func() {
		end(os.Kill)
		if r.t.Failed() {
			r.t.Logf("litestream:\n%s", r.log.Tail(3_000))
		}
	})
	return end
}

func TestDiskLostAndRestored(t *testing.T) {
	binary := find(t)
	s := rig.NewSite(t, load.Module)
	doc := openDocument(t, s.Path("root"), binary)
	disk := doc.path("/var/lib/smithers")
	s.DB = filepath.Join(disk, "smithers.db")
	token := s.Issue(rig.AllScopes, "alice")
	caddyfile := s.Write("Caddyfile", s.Caddyfile("checkpoint external", ""))
	require.Equal(t, []string{"daemon-reload", "enable --now smithers-litestream"}, doc.run())
	r := &replica{t: t}
	r.unit, r.env = doc.unit("smithers-litestream.service")
	end := r.replicate() // as after a boot: before the gateway, whose database is not there yet
	require.NoFileExists(t, s.DB)
	p := s.Start("run", "--config", caddyfile).As(token).Accepts()

	// A run that waits, and is in the replica for certain.
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	p.LaunchRun("gated", "kept", map[string]any{"url": ledger.URL})
	p.Status("kept", "waiting-approval")
	saved := history(t, p, "kept", 0)
	copied := s.Path("copy.db")
	restore := func(to string) error {
		_ = os.Remove(to)
		out, err := r.command("restore", "-config", doc.path("/etc/litestream.yml"), "-o", to, s.DB).CombinedOutput()
		if err != nil {
			t.Logf("restore: %s", out)
		}
		return err
	}
	rig.Wait(t, "the run in the replica", func() bool { return restore(copied) == nil && holds(t, copied, "kept", len(saved)) })

	// Load, Litestream gone, and more that only the lost disk will have known.
	fleet := load.NewFleet(s, ledger, token, 1)
	fleet.Start(4)
	rig.Wait(t, "load", func() bool { return fleet.Runs() >= 12 })
	rig.Wait(t, "load in the replica", func() bool { return restore(copied) == nil && runsIn(t, copied) > 1 })
	end(os.Kill)
	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "kept", "nodeId": "gate", "approved": true}, nil))
	p.Status("kept", "finished")
	lost := history(t, p, "kept", 0)
	cursor := lost[len(lost)-1].Seq
	require.Greater(t, cursor, saved[len(saved)-1].Seq)
	fleet.Stop()
	p.Kill()
	require.NoError(t, os.RemoveAll(disk))

	require.NoError(t, os.Mkdir(disk, 0o755))
	require.Equal(t, []string{"stop smithers-litestream smithers-gateway"}, doc.run())
	adopted := s.Write("Caddyfile.adopt", s.Caddyfile("checkpoint external\nadopt", ""))
	require.Equal(t, []string{"start smithers-litestream smithers-gateway"}, doc.run())
	end = r.replicate()
	p = s.Start("run", "--config", adopted).As(token).Accepts()

	// The approval was lost with the disk: the run waits again, can be decided
	// otherwise, and a client with an older number is told of a gap, exactly.
	p.Status("kept", "waiting-approval")
	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "kept", "nodeId": "gate", "approved": false}, nil))
	p.Status("kept", "finished")
	events, gap := follow(t, p, "kept", cursor)
	require.NotNil(t, gap)
	require.Equal(t, cursor+1, gap.FromSeq)
	require.GreaterOrEqual(t, gap.ToSeq, int64(1_000_000))
	require.Equal(t, gap.ToSeq+1, events[0].Seq)
	require.Equal(t, "approval.decided", events[0].Event)
	require.Contains(t, string(events[0].Payload), `"approved":false`)
	before := history(t, p, "kept", 0)[:len(saved)]
	for i, e := range saved {
		require.Equal(t, e.Seq, before[i].Seq)
		require.JSONEq(t, string(e.Payload), string(before[i].Payload))
	}
	// Whatever of the load was in the replica goes on to its end.
	p.Wait("the other runs to leave off", func() bool { return p.Call(t.Context(), "listRuns", nil, nil) == nil && idle(p) })
	require.Empty(t, p.Errors())

	// Why adopt is to be taken out again: without it numbers go on as they were, with it
	// every start leaves a gap.
	for _, c := range []struct {
		run, config string
		gap         bool
	}{{"without", caddyfile, false}, {"with", adopted, true}} {
		p.LaunchRun("gated", c.run, map[string]any{"url": ledger.URL})
		p.Status(c.run, "waiting-approval")
		before := history(t, p, c.run, 0)
		reached := before[len(before)-1].Seq
		p.Kill()
		p = s.Start("run", "--config", c.config).As(token).Accepts()
		require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": c.run, "nodeId": "gate", "approved": true}, nil))
		p.Status(c.run, "finished")
		events, gap := follow(t, p, c.run, reached)
		require.Equal(t, c.gap, gap != nil, c.run)
		require.Equal(t, c.gap, events[0].Seq > reached+1, c.run)
	}

	// A stop in the order of the units loses nothing: what the gateway commits while it
	// ends is in the replica. Litestream must have looked at the database once before: it
	// does so a second after its start.
	rig.Wait(t, "the new replica", func() bool { return restore(copied) == nil })
	p.LaunchRun("gated", "last", map[string]any{"url": ledger.URL})
	p.Status("last", "waiting-approval")
	events = history(t, p, "last", 0)
	p.Terminate()
	end(syscall.SIGTERM)
	require.NoError(t, restore(copied))
	require.True(t, holds(t, copied, "last", len(events)))
}
