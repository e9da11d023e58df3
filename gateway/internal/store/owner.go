package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// realPath returns the path by which the database is locked and opened: absolute,
// with the symbolic links of the file, or at least of its folder, resolved. Two
// names of one file thus meet at one lock.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs, nil
	}
	return filepath.Join(folder, filepath.Base(abs)), nil
}

// ensureFolder creates the folder of path if only that one is missing. A longer
// missing path is more likely a typing error or a volume that is not mounted.
func ensureFolder(path string) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s: %w: %s is not a folder", path, ErrUnwritable, folder)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: %w", path, ErrUnwritable, err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w: folder %s is missing and cannot be created; create it for this user: %w",
			path, ErrUnwritable, folder, err)
	}
	return nil
}

// lockDatabase takes the owner lock of the database at path. Closing the file
// releases it. The file stays: removing it would let two processes lock two files.
func lockDatabase(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: cannot create %s.lock; make the folder writable by this user: %w",
			path, ErrUnwritable, filepath.Base(path), err)
	}
	taken, err := lockFile(f)
	if err == nil && taken {
		return f, nil
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, fmt.Errorf("lock %s.lock: %w", path, err)
	}
	return nil, fmt.Errorf("%s: %w%s", path, ErrOwned, ownerOf(path))
}

// ownerOf reads who wrote the owner row, for messages only.
func ownerOf(path string) string {
	c, err := dial(path, "ro")
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	owner, err := c.text("SELECT value FROM gateway_meta WHERE key = 'owner'")
	if err != nil || owner == "" {
		return ""
	}
	return ": " + owner
}

// writeOwner leaves the text that ErrOwned shows to others.
func writeOwner(c *conn, owner string, now time.Time) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	text := fmt.Sprintf("process %d on %s since %s", os.Getpid(), host, now.UTC().Format(time.RFC3339))
	if owner != "" {
		text = owner + ", " + text
	}
	return setMeta(c, "owner", text)
}
