package host

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

//go:embed *.mjs
var scripts embed.FS

const (
	folderPrefix = "smithers-host-"
	scriptName   = "host.mjs"
	socketName   = "s"
	feedName     = "f"
	// maxSocketPath fits the 104 bytes of macOS and the 108 of Linux.
	maxSocketPath = 103
)

// makeFolder makes the private folder of one Host and locks it for as long as the file is
// open. It removes what gateways that were killed left of theirs.
func makeFolder() (dir string, lock *os.File, err error) {
	var errs []error
	for _, parent := range []string{os.TempDir(), "/tmp", "/run", "/var/tmp"} {
		removeLeft(parent)
		dir, err := os.MkdirTemp(parent, folderPrefix+strconv.Itoa(os.Getpid())+"-") // mode 0700; the number is for people
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(filepath.Join(dir, socketName)) > maxSocketPath {
			errs = append(errs, fmt.Errorf("%s is too long for a unix socket", dir), os.RemoveAll(dir))
			continue
		}
		if lock, err = keepFolder(dir, nil); err != nil {
			errs = append(errs, err, os.RemoveAll(dir)) // another gateway may have taken it for one that was left
			continue
		}
		return dir, lock, nil
	}
	return "", nil, fmt.Errorf("no folder for the socket of the Smithers process; set TMPDIR to a writable folder with a short path: %w", errors.Join(errs...))
}

// keepFolder brings a folder and the scripts in it to where they were: a cleaner of
// temporary files may have removed either since the process before was started. lock is
// the one of the folder as it was; nil: none yet.
func keepFolder(dir string, lock *os.File) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return lock, err
	}
	now, err := os.Lstat(dir)
	if err == nil {
		err = private(now)
	}
	if err != nil {
		return lock, err
	}
	if lock != nil {
		if before, err := lock.Stat(); err != nil || !os.SameFile(before, now) {
			_ = lock.Close() // of a folder that is gone
			lock = nil
		}
	}
	if lock == nil {
		if lock, err = lockFolder(dir); err != nil {
			return nil, err
		}
		if lock == nil {
			return nil, fmt.Errorf("%s is in use by another gateway", dir)
		}
	}
	return lock, writeScripts(dir)
}

func writeScripts(dir string) error {
	files, err := scripts.ReadDir(".")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := scripts.ReadFile(f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// removeLeft removes folders that nobody holds.
func removeLeft(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range old {
		lock, err := lockFolder(dir)
		if err != nil || lock == nil { // of somebody else, or in use
			continue
		}
		_ = os.RemoveAll(dir)
		_ = lock.Close()
	}
}
