package worktree

import (
	"os"
	"path/filepath"
)

// Find returns the root of the git work tree that holds dir, symlinks resolved; "" if
// there is none, or dir does not exist. It starts no program. A relative dir is below
// the working directory of the process.
func Find(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return ""
	}
	for {
		// A folder, or in linked work trees and submodules a file that names one.
		if _, err := os.Lstat(filepath.Join(abs, ".git")); err == nil {
			return abs
		}
		up := filepath.Dir(abs)
		if up == abs {
			return ""
		}
		abs = up
	}
}

// Find is the function of that name, for those who know Git by an interface.
func (g *Git) Find(dir string) string { return Find(dir) }
