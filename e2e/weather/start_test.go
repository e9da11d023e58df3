package weather

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// used makes a site whose database has runs in it, and no process.
func used(t *testing.T) *rig.Site {
	t.Helper()
	s := rig.NewSite(t, load.Module)
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	p := s.Start().As(s.Issue(rig.AllScopes, "alice")).Accepts()
	p.LaunchRun("signalled", "parked", map[string]any{"url": ledger.URL, "corr": "x"})
	p.Status("parked", "waiting-event")
	p.LaunchRun("chain", "done", map[string]any{"url": ledger.URL, "steps": 30})
	p.Status("done", "finished")
	p.Terminate()
	return s
}

// refuses expects that the gateway ends with an error which names the database and
// says what is wrong, without having touched the file.
func refuses(t *testing.T, s *rig.Site, words ...string) {
	t.Helper()
	before := digest(t, s.DB)
	p := s.Launch()
	require.NotZero(t, p.Exits())
	for _, word := range append(words, s.DB) {
		require.Contains(t, p.Log.String(), word)
	}
	require.NotContains(t, p.Log.String(), "goroutine ", "an error, not a crash")
	require.Equal(t, before, digest(t, s.DB), "the file is as it was")
}

func digest(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(text)
}

func TestDamagedDatabase(t *testing.T) {
	good := used(t)
	text, err := os.ReadFile(good.DB)
	require.NoError(t, err)
	for name, spoil := range map[string]func([]byte) []byte{
		"no database at all":      func([]byte) []byte { return bytes.Repeat([]byte("these are not the pages "), 1000) },
		"the schema overwritten":  func(b []byte) []byte { copy(b[100:4096], bytes.Repeat([]byte{0xa5}, 3996)); return b },
		"the end is missing":      func(b []byte) []byte { return b[:len(b)/2] },
		"a header of another age": func(b []byte) []byte { copy(b[16:24], bytes.Repeat([]byte{0xff}, 8)); return b },
	} {
		t.Run(name, func(t *testing.T) {
			s := *good
			s.T, s.DB, s.Port = t, filepath.Join(t.TempDir(), "smithers.db"), rig.FreePort(t)
			require.NoError(t, os.WriteFile(s.DB, spoil(bytes.Clone(text)), 0o600))
			refuses(t, &s, "not a healthy SQLite database")
		})
	}
	p := good.Start().As(good.Issue(rig.AllScopes, "bob")).Accepts()
	p.Status("done", "finished")
}

func TestReadOnlyDatabase(t *testing.T) {
	s := used(t)
	if os.Geteuid() != 0 {
		require.NoError(t, os.Chmod(s.DB, 0o400))
		require.NoError(t, os.Chmod(s.Dir, 0o500))
		t.Cleanup(func() { _ = os.Chmod(s.Dir, 0o700) })
		refuses(t, s, "read-only")
		return
	}
	dir := tmpfs(t, "16m") // permissions do not bind root
	text, err := os.ReadFile(s.DB)
	require.NoError(t, err)
	s.DB = filepath.Join(dir, "smithers.db")
	require.NoError(t, os.WriteFile(s.DB, text, 0o600))
	require.NoError(t, os.WriteFile(s.DB+".lock", nil, 0o600))
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	refuses(t, s, "read-only")
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, ""))
	s.Start()
}

func TestLockedAtStart(t *testing.T) {
	s := used(t)
	release := lock(t, s.DB)
	refuses(t, s, "locked")
	release()
	s.Start()
}
