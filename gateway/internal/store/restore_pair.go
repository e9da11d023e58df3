package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// RestorePair is Restore for a backup of two files: src of the other program's database,
// which may be missing, and Beside(src) of the gateway's. Both are prepared before
// either is put in place. The caller sees to it that the other program does not run.
func RestorePair(ctx context.Context, src, dest string, now time.Time) (err error) {
	src, err = realPath(src)
	if err != nil {
		return err
	}
	if dest, err = realPath(dest); err != nil {
		return err
	}
	if src == dest {
		return fmt.Errorf("restore %s: source and destination are the same file", src)
	}
	if err := ensureFolder(dest); err != nil {
		return err
	}
	temps := map[string]string{} // by the file that they are to replace
	defer func() {
		for _, temp := range temps {
			err = errors.Join(err, removeDatabase(temp))
		}
	}()
	for _, path := range []string{dest, Beside(dest)} {
		lock, err := lockDatabase(path)
		if err != nil {
			return err
		}
		defer func() { _ = lock.Close() }()
	}
	temp, err := prepareRestore(ctx, Beside(src), Beside(dest), now)
	if err != nil {
		return fmt.Errorf("restore %s: %w", Beside(src), err)
	}
	temps[Beside(dest)] = temp
	if _, err := os.Stat(src); err == nil {
		if temp, err = prepareForeign(ctx, src, dest); err != nil {
			return fmt.Errorf("restore %s: %w", src, err)
		}
		temps[dest] = temp
	}
	for _, path := range []string{Beside(dest), dest} {
		if temp, ok := temps[path]; ok {
			if err := replaceDatabase(temp, path); err != nil {
				return fmt.Errorf("restore %s: %w", path, err)
			}
			delete(temps, path)
		}
	}
	return nil
}

// prepareForeign copies the database of another program and looks for damage.
func prepareForeign(ctx context.Context, src, dest string) (temp string, err error) {
	c, err := openSource(src)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return copyDatabase(ctx, c, dest, nil, func(copied *conn) error {
		result, err := copied.text("PRAGMA quick_check(1)")
		if err != nil {
			return openError(src, err)
		}
		if result != "ok" {
			return fmt.Errorf("%s: %w: %s", src, ErrCorrupt, result)
		}
		return nil
	})
}
