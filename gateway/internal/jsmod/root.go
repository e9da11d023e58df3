package jsmod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrOutsideRoot is wrapped by errors about imports that leave the module's root.
var ErrOutsideRoot = errors.New("outside of the module root")

// rootMarks make a folder the root of the modules below it.
var rootMarks = []string{
	"package-lock.json", "bun.lock", "bun.lockb", "yarn.lock", "pnpm-lock.yaml", "npm-shrinkwrap.json", "deno.lock", "package.json",
}

// FindRoot returns the real path of the nearest ancestor of the module that holds a
// lockfile or a package.json, or the module's own folder when there is none.
func FindRoot(module string) (string, error) {
	real, err := realPath(module)
	if err != nil {
		return "", err
	}
	own := filepath.Dir(real)
	for dir := own; ; dir = filepath.Dir(dir) {
		for _, mark := range rootMarks {
			if st, err := os.Stat(filepath.Join(dir, mark)); err == nil && !st.IsDir() {
				return dir, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return own, nil
		}
	}
}

// locate returns the real paths of a module and of its root.
func locate(path, root string) (entry, realRoot string, err error) {
	if entry, err = realPath(path); err != nil {
		return "", "", err
	}
	st, err := os.Stat(entry)
	if err != nil {
		return "", "", err
	}
	if st.IsDir() {
		return "", "", fmt.Errorf("%s is a folder; name the module file itself", path)
	}
	if root == "" {
		realRoot, err = FindRoot(entry)
	} else {
		realRoot, err = realPath(root)
	}
	if err != nil {
		return "", "", err
	}
	if !inside(realRoot, entry) {
		return "", "", fmt.Errorf("%w: the module %s is not below %s; set module_root to a folder above it", ErrOutsideRoot, path, realRoot)
	}
	return entry, realRoot, nil
}

func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no file at %s: %w", path, fs.ErrNotExist)
	}
	return real, err
}

func inside(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
