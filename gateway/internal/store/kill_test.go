package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	envChild     = "STORE_TEST_CHILD"
	childCommits = "commit"
	childHolds   = "hold"
)

// runChildIfAsked turns the test binary into a process that is to be killed.
func runChildIfAsked() {
	kind, path, ok := strings.Cut(os.Getenv(envChild), "=")
	if !ok {
		return
	}
	if err := child(kind, path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child commits until it is killed and writes each acknowledged number to stdout.
func child(kind, path string) error {
	s, err := Open(context.Background(), Options{Path: path, Owner: "child gateway"})
	if err != nil {
		return err
	}
	if kind == childHolds {
		fmt.Println("0 0")
		select {}
	}
	err = s.Update(context.Background(), func(tx *Tx) error {
		if _, err := tx.Run("r"); err == nil {
			return nil
		}
		return tx.InsertRun(aRun("r"))
	})
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	for n := 0; ; n++ {
		events := make([]*Event, 1+n%3)
		s.Submit(func(tx *Tx) error {
			for i := range events {
				events[i] = pushed(n)
				if err := tx.Append("r", events[i]); err != nil {
					return err
				}
			}
			if n%5 == 4 {
				return errBoom
			}
			return nil
		}, func(err error) {
			if n%5 == 4 {
				return
			}
			if err != nil {
				failed <- err
				return
			}
			last := events[len(events)-1]
			fmt.Printf("%d %d\n", last.Seq, last.StateVersion)
		})
		select {
		case err := <-failed:
			return err
		default:
		}
	}
}

// startChild starts the child and returns its output.
func startChild(t *testing.T, kind, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), envChild+"="+kind+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func TestKilledWhileCommitting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	var lastSeq, lastVersion int64
	for round := range 4 {
		cmd, out := startChild(t, childCommits, path)
		kill := 50 + 400*round
		for n := 0; out.Scan(); n++ {
			seq, version, ok := strings.Cut(out.Text(), " ")
			if !ok {
				break // cut off by the kill
			}
			s, err1 := strconv.ParseInt(seq, 10, 64)
			v, err2 := strconv.ParseInt(version, 10, 64)
			require.NoError(t, err1)
			require.NoError(t, err2)
			require.Greater(t, s, lastSeq)
			require.Greater(t, v, lastVersion)
			lastSeq, lastVersion = s, v
			if n == kill {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait() // says that it was killed

		s, err := Open(context.Background(), Options{Path: path})
		require.NoError(t, err)
		require.GreaterOrEqual(t, s.StateVersion(), lastVersion)
		view(t, s, func(v *View) {
			checkLog(t, v, "r")
			b, err := v.EventBounds("r")
			require.NoError(t, err)
			require.GreaterOrEqual(t, b.Last, lastSeq, "an acknowledged event is lost")
			require.Equal(t, b.Last, b.Count)
			lastSeq = b.Last
		})
		lastVersion = s.StateVersion()
		require.NoError(t, s.Close())
	}
}

// checkLog holds a run's numbers against the invariants.
func checkLog(t testing.TB, v *View, runID string) {
	t.Helper()
	events, err := v.EventsLog(runID, -1, 1<<30)
	require.NoError(t, err)
	var seq, version int64
	for i, ev := range events {
		require.EqualValues(t, i, ev.LogSeq)
		if ev.Name == "" {
			require.Zero(t, ev.Seq)
			continue
		}
		require.Greater(t, ev.Seq, seq)
		require.Greater(t, ev.StateVersion, version)
		seq, version = ev.Seq, ev.StateVersion
	}
}

func TestOwnedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	cmd, out := startChild(t, childHolds, path)
	require.True(t, out.Scan())

	_, err := Open(context.Background(), Options{Path: path})
	require.ErrorIs(t, err, ErrOwned)
	require.ErrorContains(t, err, fmt.Sprintf("child gateway, process %d on ", cmd.Process.Pid))
	require.ErrorIs(t, Restore(context.Background(), filepath.Join(t.TempDir(), "none"), path, time.Now()), ErrOwned)

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	openAt(t, path) // the kernel released the lock
}
