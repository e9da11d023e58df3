package worktree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// refs is the folder of the references that keep captures.
const refs = "refs/smithers/"

// tree is a work tree whose index is kept between captures, so that a capture reads
// only what changed since the one before. Its fields belong to whoever holds busy.
type tree struct {
	busy  chan struct{} // a token for whoever works on it
	index string
	from  stat   // of the user's index that ours was copied from
	last  string // tree object of the last capture; "" unknown
	kept  string // reference that is known to keep last
	tired time.Time
	used  int64
}

// stat tells whether a file is the one that was read before.
type stat struct {
	size int64
	at   time.Time
}

// Capture records the state of the work tree at root and returns the id of a git tree
// object. keep names who wants it kept, until Forget: letters, digits and dashes. It
// takes at most CaptureTime.
func (g *Git) Capture(ctx context.Context, root, keep string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, CaptureTime)
	defer cancel()
	t, err := g.tree(root)
	if err != nil {
		return "", err
	}
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return "", fmt.Errorf("other captures of the work tree took too long: %w", ctx.Err())
	}
	if now := g.now(); now.Before(t.tired) {
		return "", fmt.Errorf("an earlier capture of the work tree took longer than %v; the next is tried in %v",
			CaptureTime, t.tired.Sub(now).Round(time.Second))
	}
	defer func() {
		if errors.Is(err, context.DeadlineExceeded) {
			t.tired = g.now().Add(rest)
		}
	}()
	fresh, err := g.refresh(ctx, t, root)
	if err != nil {
		return "", err
	}
	id, err = g.write(ctx, t, root, keep)
	if err == nil || fresh || ctx.Err() != nil || errors.Is(err, ErrTooLarge) {
		return id, err
	}
	// What the index names may have been collected, or it is damaged: begin anew.
	t.from = stat{}
	if _, err := g.refresh(ctx, t, root); err != nil {
		return "", err
	}
	return g.write(ctx, t, root, keep)
}

// Head returns the commit that is checked out at root; "" before the first one.
func (g *Git) Head(ctx context.Context, root string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, CaptureTime)
	defer cancel()
	if _, err := g.run(ctx, command{root: root}, "rev-parse", "--git-dir"); err != nil {
		return "", err
	}
	id, err := g.run(ctx, command{root: root}, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	if err != nil && ctx.Err() == nil {
		return "", nil
	}
	return id, err
}

// tree returns the entry of a work tree, making room for it.
func (g *Git) tree(root string) (*tree, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dir == "" {
		dir, err := os.MkdirTemp("", "smithers-gateway-git-")
		if err != nil {
			return nil, fmt.Errorf("a folder for git's index: %w", err)
		}
		g.dir = dir
	}
	t := g.trees[root]
	if t == nil {
		g.evict()
		t = &tree{busy: make(chan struct{}, 1)}
		g.trees[root] = t
	}
	t.used = g.now().UnixNano()
	return t, nil
}

// evict forgets the work tree that was used least lately, unless it is busy.
func (g *Git) evict() {
	if len(g.trees) < maxTrees {
		return
	}
	var oldest string
	for root, t := range g.trees {
		if len(t.busy) == 0 && (oldest == "" || t.used < g.trees[oldest].used) {
			oldest = root
		}
	}
	if oldest == "" {
		return
	}
	_ = os.Remove(g.trees[oldest].index) // what is left is removed with the folder
	delete(g.trees, oldest)
}

// refresh makes t's index a copy of the user's if that has changed since. It reports
// whether it did.
func (g *Git) refresh(ctx context.Context, t *tree, root string) (fresh bool, err error) {
	path, err := g.run(ctx, command{root: root}, "rev-parse", "--git-path", "index")
	if err != nil {
		return false, err
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	if t.index == "" {
		f, err := os.CreateTemp(g.dir, "index-")
		if err != nil {
			return false, fmt.Errorf("a file for git's index: %w", err)
		}
		t.index = f.Name()
		_ = f.Close()
	}
	_ = os.Remove(t.index + ".lock") // of a git that was killed
	var now stat
	info, err := os.Stat(path)
	switch {
	case err == nil:
		now = stat{info.Size(), info.ModTime()}
	case !errors.Is(err, os.ErrNotExist): // without one nothing is tracked
		return false, fmt.Errorf("git's index: %w", err)
	}
	if now == t.from && t.last != "" {
		return false, nil
	}
	t.from, t.last, t.kept = now, "", ""
	if info == nil {
		return true, os.Remove(t.index)
	}
	return true, copyIndex(path, t.index, info.ModTime())
}

// copyIndex keeps the time, from which git sees which entries it cannot trust.
func copyIndex(from, to string, at time.Time) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("git's index: %w", err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("a file for git's index: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy git's index: %w", err)
	}
	return os.Chtimes(to, at, at)
}

// write brings t's index up to date with the files and makes a tree of it.
func (g *Git) write(ctx context.Context, t *tree, root, keep string) (string, error) {
	changed, err := g.changed(ctx, t, root)
	if err != nil {
		return "", err
	}
	if len(changed) > 0 || t.last == "" {
		t.last, t.kept = "", ""
		if len(changed) > 0 {
			if _, err := g.run(ctx, command{root: root, index: t.index, stdin: bytes.NewReader(changed), stdout: io.Discard},
				"update-index", "-z", "--add", "--remove", "--replace", "--stdin"); err != nil {
				return "", err
			}
		}
		if t.last, err = g.run(ctx, command{root: root, index: t.index}, "write-tree"); err != nil {
			return "", err
		}
	}
	if ref := refs + keep + "/" + t.last; t.kept != ref {
		if _, err := g.run(ctx, command{root: root}, "update-ref", ref, t.last); err != nil {
			t.last = ""
			return "", err
		}
		t.kept = ref
	}
	return t.last, nil
}

// changed lists, each with a NUL behind it, the files that differ from t's index or
// are not in it. It refuses more than a capture may read.
func (g *Git) changed(ctx context.Context, t *tree, root string) ([]byte, error) {
	list := &lister{root: root, seen: make(map[string]bool)}
	_, err := g.run(ctx, command{root: root, index: t.index, stdout: list},
		"ls-files", "-z", "--others", "--modified", "--exclude-standard")
	return list.paths.Bytes(), err
}

// lister takes the NUL-separated output of ls-files.
type lister struct {
	root  string
	part  []byte // of a path
	paths bytes.Buffer
	seen  map[string]bool
	bytes int64
}

func (l *lister) Write(b []byte) (int, error) {
	n := len(b)
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			l.part = append(l.part, b...)
			return n, nil
		}
		path := string(append(l.part, b[:i]...))
		l.part, b = l.part[:0], b[i+1:]
		if err := l.add(path); err != nil {
			return 0, err
		}
	}
}

func (l *lister) add(path string) error {
	// A folder is a repository of its own. A path in conflict comes several times.
	if l.seen[path] || strings.HasSuffix(path, "/") {
		return nil
	}
	l.seen[path] = true
	if len(l.seen) > maxFiles {
		return fmt.Errorf("%w: more than %d files", ErrTooLarge, maxFiles)
	}
	if info, err := os.Lstat(filepath.Join(l.root, filepath.FromSlash(path))); err == nil && info.Mode().IsRegular() {
		if l.bytes += info.Size(); l.bytes > maxBytes {
			return fmt.Errorf("%w: more than %s MiB in new and changed files", ErrTooLarge, strconv.Itoa(maxBytes>>20))
		}
	}
	l.paths.WriteString(path)
	l.paths.WriteByte(0)
	return nil
}

// Forget lets git collect what was captured for keep at root. A work tree that is gone
// has nothing to forget.
func (g *Git) Forget(ctx context.Context, root, keep string) error {
	ctx, cancel := context.WithTimeout(ctx, CaptureTime)
	defer cancel()
	if _, err := os.Lstat(filepath.Join(root, ".git")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var names bytes.Buffer
	if _, err := g.run(ctx, command{root: root, stdout: &names}, "for-each-ref", "--format=delete %(refname)", refs+keep+"/"); err != nil {
		return err
	}
	if names.Len() == 0 {
		return nil
	}
	_, err := g.run(ctx, command{root: root, stdin: &names}, "update-ref", "--stdin")
	return err
}
