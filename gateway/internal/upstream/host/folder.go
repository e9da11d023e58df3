package host

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed host.mjs feed.mjs
var scripts embed.FS

const (
	folderPrefix   = "smithers-host-"
	scriptName     = "host.mjs"
	feedScriptName = "feed.mjs"
	socketName     = "s"
	feedName       = "f"
	// maxSocketPath fits the 104 bytes of macOS and the 108 of Linux.
	maxSocketPath = 103
)

// makeFolder makes the private folder of one Host, with the script in it, and removes
// what gateways that were killed left of theirs.
func makeFolder() (string, error) {
	var errs []error
	for _, parent := range []string{os.TempDir(), "/tmp", "/run", "/var/tmp"} {
		removeLeft(parent)
		dir, err := os.MkdirTemp(parent, folderPrefix+strconv.Itoa(os.Getpid())+"-") // mode 0700
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(filepath.Join(dir, socketName)) > maxSocketPath {
			errs = append(errs, fmt.Errorf("%s is too long for a unix socket", dir), os.RemoveAll(dir))
			continue
		}
		if err := writeScripts(dir); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
		return dir, nil
	}
	return "", fmt.Errorf("no folder for the socket of the Smithers process; set TMPDIR to a writable folder with a short path: %w", errors.Join(errs...))
}

func writeScripts(dir string) error {
	for _, name := range []string{scriptName, feedScriptName} {
		text, err := scripts.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func removeLeft(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	for _, dir := range old {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		pid, err := strconv.Atoi(number)
		if err != nil || pid <= 0 || !gone(pid) {
			continue
		}
		_ = os.RemoveAll(dir) // of somebody else: it stays
	}
}

// gone reports that no process has this number.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	err = p.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
