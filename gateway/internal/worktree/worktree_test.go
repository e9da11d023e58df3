package worktree

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// repo is a git repository of a test.
type repo struct {
	t    *testing.T
	root string
}

// newRepo makes a repository with one commit, as a fresh user's git would.
func newRepo(t *testing.T) *repo {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is missing")
		}
		t.Skip("git is missing")
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	r := &repo{t, root}
	r.git("init", "-q", "-b", "main")
	r.git("config", "user.email", "dev@example.org")
	r.git("config", "user.name", "Dev")
	r.write("a.txt", "hello\n")
	r.write("sub/b.txt", "b\n")
	r.write(".gitignore", "*.log\n")
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "first")
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	out, err := exec.Command("git", append([]string{"-C", r.root}, args...)...).CombinedOutput()
	require.NoError(r.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (r *repo) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.root, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(r.t, os.WriteFile(path, []byte(content), 0o644))
}

func (r *repo) remove(name string) { require.NoError(r.t, os.RemoveAll(filepath.Join(r.root, name))) }

func newGit(t *testing.T, o Options) *Git {
	g := New(o)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

func capture(t *testing.T, g *Git, r *repo) string {
	t.Helper()
	id, err := g.Capture(t.Context(), r.root, "run-1")
	require.NoError(t, err)
	return id
}

const limit = 50 << 20

func TestCaptureAndDiff(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	before := capture(t, g, r)
	require.Equal(t, r.git("rev-parse", "HEAD^{tree}"), before, "an unchanged work tree is its commit's tree")

	r.write("a.txt", "hello changed\n")
	r.write("new.txt", "one\ntwo\n")
	r.write("bin.dat", "\x00\x01\x02\x03\xff")
	r.write("noise.log", "ignored\n")
	r.remove("sub/b.txt")
	after := capture(t, g, r)
	patches, err := g.Diff(t.Context(), r.root, before, after, limit)
	require.NoError(t, err)
	require.Equal(t, []Patch{
		{Path: "a.txt", Operation: Modify, Diff: "diff --git a/a.txt b/a.txt\nindex ce01362..47688cf 100644\n--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-hello\n+hello changed\n"},
		{Path: "bin.dat", Operation: Add, Diff: "diff --git a/bin.dat b/bin.dat\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..e2613b3caa99ff78f481d27639d5500710722310\nGIT binary patch\nliteral 5\nMcmZQzWMcjg009&M1^@s6\n\nliteral 0\nHcmV?d00001\n\n",
			BinaryContent: "AAECA/8="},
		{Path: "new.txt", Operation: Add, Diff: "diff --git a/new.txt b/new.txt\nnew file mode 100644\nindex 0000000..814f4a4\n--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n"},
		{Path: "sub/b.txt", Operation: Delete, Diff: "diff --git a/sub/b.txt b/sub/b.txt\ndeleted file mode 100644\nindex 6178079..0000000\n--- a/sub/b.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n"},
	}, patches)

	same, err := g.Diff(t.Context(), r.root, after, capture(t, g, r), limit)
	require.NoError(t, err)
	require.Empty(t, same)
}

// The patches, put together, turn the one state into the other.
func TestPatchesApply(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	r.write("odd \"name\"\t√.txt", "x\n")
	r.write("becomes a link", "text\n")
	before := capture(t, g, r)
	r.write("odd \"name\"\t√.txt", "diff --git a/x b/x\n+y\n")
	r.write("bin", strings.Repeat("\x00\xfe", 5000))
	r.write("no newline", "end")
	r.remove("becomes a link")
	require.NoError(t, os.Symlink("a.txt", filepath.Join(r.root, "becomes a link")))
	require.NoError(t, os.Chmod(filepath.Join(r.root, "a.txt"), 0o755))
	r.remove("sub")
	r.write("sub", "a file now\n")
	after := capture(t, g, r)
	patches, err := g.Diff(t.Context(), r.root, before, after, limit)
	require.NoError(t, err)
	var all strings.Builder
	operations := map[string]string{}
	for _, p := range patches {
		all.WriteString(p.Diff)
		operations[p.Path] = p.Operation
	}
	require.Equal(t, map[string]string{"a.txt": Modify, "becomes a link": Modify, "bin": Add, "no newline": Add,
		"odd \"name\"\t√.txt": Modify, "sub": Add, "sub/b.txt": Delete}, operations)

	index := filepath.Join(t.TempDir(), "index")
	apply := func(stdin string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", r.root}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_INDEX_FILE="+index)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	apply("", "read-tree", before)
	apply(all.String(), "apply", "--cached")
	require.Equal(t, after, apply("", "write-tree"))
}

// What a repository has git start is not started: hooks, monitors, and programs that show
// differences. Filters are, since they say what the content of a file is.
func TestProgramsOfTheRepository(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	mark := filepath.Join(t.TempDir(), "ran")
	program := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho "+name+" >> '"+mark+"'\ncat >/dev/null\n"), 0o755))
		return path
	}
	for _, hook := range []string{"post-index-change", "reference-transaction", "pre-auto-gc"} {
		require.NoError(t, os.Rename(program(hook), filepath.Join(r.root, ".git", "hooks", hook)))
	}
	r.git("config", "core.fsmonitor", program("fsmonitor"))
	r.git("config", "diff.external", program("external"))
	r.git("config", "diff.odd.command", program("command"))
	r.git("config", "diff.odd.textconv", program("textconv"))
	before := capture(t, g, r)
	r.write(".gitattributes", "a.txt diff=odd\n")
	r.write("a.txt", "changed\n")
	after := capture(t, g, r)
	patches, err := g.Diff(t.Context(), r.root, before, after, 1<<20)
	require.NoError(t, err)
	require.Len(t, patches, 2)
	require.NoError(t, g.Forget(t.Context(), r.root, "run-1"))
	require.NoFileExists(t, mark)
	r.git("update-ref", "refs/heads/other", "HEAD")
	require.FileExists(t, mark, "they do run when a user does the same")
}

// A capture leaves alone what belongs to the user.
func TestNothingOfTheUserChanges(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	r.write("staged.txt", "staged\n")
	r.git("add", "staged.txt")
	r.write("staged.txt", "and changed\n")
	r.write("loose.txt", "untracked\n")
	state := func() string {
		index, err := os.ReadFile(filepath.Join(r.root, ".git", "index"))
		require.NoError(t, err)
		return base64.StdEncoding.EncodeToString(index) + r.git("status", "--porcelain", "-b") + r.git("rev-parse", "HEAD") +
			r.git("for-each-ref", "refs/heads", "refs/tags") + r.git("stash", "list") + r.git("log", "--all", "--oneline")
	}
	r.git("status") // refreshes the index
	want := state()
	capture(t, g, r)
	r.write("loose.txt", "more\n")
	id := capture(t, g, r)
	require.Equal(t, want[:40], state()[:40])
	r.write("loose.txt", "untracked\n")
	require.Equal(t, want, state())
	require.Equal(t, "and changed", r.git("show", id+":staged.txt"))
	require.Equal(t, "more", r.git("show", id+":loose.txt"))
}

func TestCapturesAreKeptUntilForgotten(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	r.write("new.txt", "kept\n")
	id := capture(t, g, r)
	r.git("gc", "-q", "--prune=now")
	require.Equal(t, "kept", r.git("show", id+":new.txt"))

	other, err := g.Capture(t.Context(), r.root, "run-2")
	require.NoError(t, err)
	require.Equal(t, id, other)
	require.NoError(t, g.Forget(t.Context(), r.root, "run-1"))
	require.Equal(t, "refs/smithers/run-2/"+id, r.git("for-each-ref", "--format=%(refname)", "refs/smithers"))
	require.NoError(t, g.Forget(t.Context(), r.root, "run-2"))
	require.NoError(t, g.Forget(t.Context(), r.root, "run-2"))
	r.git("gc", "-q", "--prune=now")
	require.Error(t, exec.Command("git", "-C", r.root, "cat-file", "-e", id).Run())

	// The kept index names objects that are gone: the capture begins anew.
	require.Equal(t, id, capture(t, g, r))
	require.Equal(t, "kept", r.git("show", id+":new.txt"))
	require.NoError(t, g.Forget(t.Context(), t.TempDir(), "run-1"))
}

// What the user adds by force, although it is ignored, is part of a later capture.
func TestTheUsersIndexIsFollowed(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	r.write("wanted.log", "x\n")
	before := capture(t, g, r)
	r.git("add", "-f", "wanted.log")
	patches, err := g.Diff(t.Context(), r.root, before, capture(t, g, r), limit)
	require.NoError(t, err)
	require.Len(t, patches, 1)
	require.Equal(t, "wanted.log", patches[0].Path)
}

func TestConflictsAndRepositoriesWithin(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	r.git("checkout", "-q", "-b", "other")
	r.write("a.txt", "theirs\n")
	r.git("commit", "-q", "-a", "-m", "theirs")
	r.git("checkout", "-q", "main")
	r.write("a.txt", "ours\n")
	r.git("commit", "-q", "-a", "-m", "ours")
	require.Error(t, exec.Command("git", "-C", r.root, "merge", "other").Run())
	r.git("init", "-q", "nested")
	r.write("nested/file", "of another repository\n")
	id := capture(t, g, r)
	require.Contains(t, r.git("show", id+":a.txt"), "<<<<<<<")
	require.NotContains(t, r.git("ls-tree", "--name-only", id), "nested")
}

func TestBeforeTheFirstCommit(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	head, err := g.Head(t.Context(), r.root)
	require.NoError(t, err)
	require.Equal(t, r.git("rev-parse", "HEAD"), head)
	r.remove(".git")
	require.Empty(t, Find(r.root))
	_, err = g.Head(t.Context(), r.root)
	require.ErrorContains(t, err, "not a git repository")
	r.git("init", "-q")
	head, err = g.Head(t.Context(), r.root)
	require.NoError(t, err)
	require.Empty(t, head)
	require.Equal(t, "hello", r.git("show", capture(t, g, r)+":a.txt"))
}

func TestFind(t *testing.T) {
	r := newRepo(t)
	require.Equal(t, r.root, Find(filepath.Join(r.root, "sub")))
	require.Equal(t, r.root, New(Options{}).Find(r.root))
	linked := filepath.Join(t.TempDir(), "linked")
	r.git("worktree", "add", "-q", linked)
	real, err := filepath.EvalSymlinks(linked)
	require.NoError(t, err)
	require.Equal(t, real, Find(filepath.Join(linked, "sub")))
	g := newGit(t, Options{})
	id, err := g.Capture(t.Context(), real, "run-1")
	require.NoError(t, err)
	require.Equal(t, r.git("rev-parse", "HEAD^{tree}"), id)
	require.Empty(t, Find(filepath.Join(r.root, "nowhere")))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(filepath.Join(r.root, "sub"), link))
	require.Equal(t, r.root, Find(link))
}

func TestWithoutGit(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{Program: "no-such-git"})
	_, err := g.Capture(t.Context(), r.root, "run-1")
	require.EqualError(t, err, "git is not installed: there is no program of that name in the PATH of the gateway")
}

func TestSizesAreBounded(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	before := capture(t, g, r)
	big, err := os.Create(filepath.Join(r.root, "big"))
	require.NoError(t, err)
	require.NoError(t, big.Truncate(maxBytes+1)) // sparse
	require.NoError(t, big.Close())
	_, err = g.Capture(t.Context(), r.root, "run-1")
	require.ErrorIs(t, err, ErrTooLarge)
	require.EqualError(t, err, "the work tree has too many changes to be recorded: more than 256 MiB in new and changed files")
	r.remove("big")

	r.write("text", strings.Repeat("line\n", 1000))
	after := capture(t, g, r)
	_, err = g.Diff(t.Context(), r.root, before, after, 1000)
	var large *TooLargeError
	require.ErrorAs(t, err, &large)
	require.Greater(t, large.Size, int64(6000))
	require.Equal(t, int64(1000), large.Limit)

	r.remove("text")
	r.write("bin", strings.Repeat("\x00", 3000)) // tiny as a patch
	after = capture(t, g, r)
	_, err = g.Diff(t.Context(), r.root, before, after, 2000)
	require.ErrorAs(t, err, &large)
	require.Greater(t, large.Size, int64(4000))

	list := &lister{root: r.root, seen: map[string]bool{}}
	for i := range maxFiles {
		list.seen[string(rune(i))+"x"] = true
	}
	_, err = list.Write([]byte("one\x00more\x00"))
	require.ErrorIs(t, err, ErrTooLarge)
}

// A git that hangs is ended, and the work tree then left alone for a while.
func TestSlowGit(t *testing.T) {
	r := newRepo(t)
	slow := filepath.Join(t.TempDir(), "git")
	require.NoError(t, os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755))
	now := time.Now()
	g := newGit(t, Options{Program: slow, Now: func() time.Time { return now }})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := g.Capture(ctx, r.root, "run-1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "git rev-parse took too long")
	_, err = g.Capture(t.Context(), r.root, "run-1")
	require.EqualError(t, err, "an earlier capture of the work tree took longer than 15s; the next is tried in 5m0s")
	g.program = "git"
	now = now.Add(rest)
	capture(t, g, r)
}

// Whoever waits for others waits for as long as his own call may take.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGit(t, Options{})
		began := time.Now()
		tree, err := g.tree("/repo")
		require.NoError(t, err)
		tree.busy <- struct{}{}
		_, err = g.Capture(t.Context(), "/repo", "run-1")
		require.EqualError(t, err, "other captures of the work tree took too long: context deadline exceeded")
		require.Equal(t, CaptureTime, time.Since(began))
		<-tree.busy

		for range maxProcesses {
			g.processes <- struct{}{}
		}
		began = time.Now()
		_, err = g.Diff(t.Context(), "/repo", "a", "b", limit)
		require.EqualError(t, err, "git diff-tree took too long: context deadline exceeded")
		require.Equal(t, DiffTime, time.Since(began))
		_, err = g.Capture(t.Context(), "/repo", "run-1")
		require.EqualError(t, err, "git rev-parse took too long: context deadline exceeded")
		_, err = g.Capture(t.Context(), "/repo", "run-1")
		require.EqualError(t, err, "an earlier capture of the work tree took longer than 15s; the next is tried in 5m0s")
	})
}

func TestReasonsComeFromGit(t *testing.T) {
	r := newRepo(t)
	g := newGit(t, Options{})
	id := capture(t, g, r)
	_, err := g.Diff(t.Context(), r.root, id, strings.Repeat("0", 39)+"1", limit)
	require.EqualError(t, err, "git diff-tree: bad object 0000000000000000000000000000000000000001")
	_, err = g.Diff(t.Context(), filepath.Join(r.root, "gone"), id, strings.Repeat("1", 40), limit)
	require.ErrorContains(t, err, "git diff-tree: cannot change to")
}

func TestIndexesOfManyTreesAreDropped(t *testing.T) {
	now := time.Unix(0, 1)
	g := newGit(t, Options{Now: func() time.Time { now = now.Add(1); return now }})
	for i := range maxTrees + 3 {
		_, err := g.tree(string(rune('a' + i)))
		require.NoError(t, err)
	}
	require.Len(t, g.trees, maxTrees)
	require.NotContains(t, g.trees, "a")
}

func FuzzPatchOutput(f *testing.F) {
	f.Add([]byte("diff --git a/a b/a\nindex 1..2\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n+diff --git \ndiff --git a/b b/b\n"), []byte("a\x00b/\x00a\x00"))
	f.Fuzz(func(t *testing.T, patch, names []byte) {
		var b strings.Builder
		for _, p := range split(patch) {
			b.WriteString(p)
		}
		if b.String() != string(patch) {
			t.Fatal("bytes are lost")
		}
		list := &lister{root: t.TempDir(), seen: map[string]bool{}}
		for _, one := range names {
			if _, err := list.Write([]byte{one}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
