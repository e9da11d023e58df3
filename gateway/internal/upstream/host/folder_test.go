//go:build unix

package host

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Only a folder that nobody holds is removed, whatever the numbers of processes are: in
// a container every gateway may have the same.
func TestFoldersOfTheDeadAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	left, hold, err := makeFolder()
	require.NoError(t, err)
	require.NoError(t, hold.Close()) // as the kernel does for a gateway that is killed
	first, hold, err := makeFolder()
	require.NoError(t, err)
	require.NoDirExists(t, left)
	second, other, err := makeFolder()
	require.NoError(t, err)
	require.DirExists(t, first, "of a live gateway")
	require.NoError(t, hold.Close())
	removeLeft(os.TempDir())
	require.NoDirExists(t, first)
	require.DirExists(t, second)
	require.NoError(t, other.Close())
}

// A process is started again although a cleaner has removed the script, or the folder.
func TestRestartAfterACleaner(t *testing.T) {
	h := start(t, playing(t))
	for generation, remove := range []string{filepath.Join(h.folder, scriptName), h.folder} {
		require.NoError(t, os.RemoveAll(remove))
		require.NoError(t, syscall.Kill(h.Status().PID, syscall.SIGKILL))
		await(t, h, source.Ready, generation+2)
		require.FileExists(t, filepath.Join(h.folder, scriptName))
		removeLeft(filepath.Dir(h.folder))
		require.DirExists(t, h.folder, "the new one is held, too")
	}
	h.Stop()
	require.NoDirExists(t, h.folder)
}

// A folder that somebody else has put there is not used.
func TestForeignFolderIsNotUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.Mkdir(dir, 0o755))
	_, err := keepFolder(dir, nil)
	require.ErrorContains(t, err, "not the gateway's own private folder")
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Symlink(t.TempDir(), dir))
	_, err = keepFolder(dir, nil)
	require.ErrorContains(t, err, "not the gateway's own private folder")
}
