package worktree

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DiffTime bounds one comparison.
const DiffTime = 30 * time.Second

// Operations of a Patch.
const (
	Add    = "add"
	Modify = "modify"
	Delete = "delete"
)

// Patch is what became of one file.
type Patch struct {
	Path      string `json:"path"` // below the root, with slashes
	Operation string `json:"operation"`
	Diff      string `json:"diff"` // unified, as git apply takes it
	// BinaryContent is the new content of a file that is no text, base64.
	BinaryContent string `json:"binaryContent,omitempty"`
}

// TooLargeError says that a diff has more bytes than were allowed.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the diff has %d bytes, more than %d", e.Size, e.Limit)
}

// Diff compares two captures of the work tree at root. A file that moved is deleted
// and added. What has more than limit bytes is a *TooLargeError with its size.
func (g *Git) Diff(ctx context.Context, root, before, after string, limit int64) ([]Patch, error) {
	ctx, cancel := context.WithTimeout(ctx, DiffTime)
	defer cancel()
	patches := []Patch{}
	if before == after {
		return patches, nil
	}
	changes, err := g.changes(ctx, root, before, after, limit)
	if err != nil {
		return nil, err
	}
	text := &counted{limit: limit}
	if _, err := g.run(ctx, command{root: root, stdout: text}, slices.Concat(comparePatch, []string{before, after})...); err != nil {
		return nil, err
	}
	if text.size > limit {
		return nil, &TooLargeError{Size: text.size, Limit: limit}
	}
	parts := split(text.buf.Bytes())
	for _, c := range changes {
		take := 1
		if c.status == 'T' { // one file becomes another kind of file in two steps
			take = 2
		}
		if len(parts) < take {
			return nil, errors.New("git diff-tree gave fewer patches than files")
		}
		p := Patch{Path: c.path, Operation: c.operation(), Diff: strings.Join(parts[:take], "")}
		parts = parts[take:]
		patches = append(patches, p)
	}
	if len(parts) > 0 {
		return nil, errors.New("git diff-tree gave more patches than files")
	}
	return patches, g.contents(ctx, root, changes, patches, text.size, limit)
}

// Arguments of a comparison that no configuration changes.
var (
	compareFiles = []string{"diff-tree", "-r", "--no-renames", "--ignore-submodules=none", "--raw", "-z", "--no-abbrev"}
	comparePatch = []string{"diff-tree", "-r", "--no-renames", "--ignore-submodules=none", "--no-color", "--no-ext-diff",
		"--no-textconv", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "--patch", "--unified=3", "--binary"}
)

// change is one line of diff-tree --raw.
type change struct {
	path, blob string // of the new content
	status     byte
	mode       string // new one
}

func (c *change) operation() string {
	switch c.status {
	case 'A':
		return Add
	case 'D':
		return Delete
	}
	return Modify
}

// changes lists the files that differ, in the order of the patches.
func (g *Git) changes(ctx context.Context, root, before, after string, limit int64) ([]change, error) {
	raw := &counted{limit: limit}
	if _, err := g.run(ctx, command{root: root, stdout: raw}, slices.Concat(compareFiles, []string{before, after})...); err != nil {
		return nil, err
	}
	if raw.size > limit {
		return nil, &TooLargeError{Size: raw.size, Limit: limit}
	}
	var list []change
	fields := strings.Split(strings.TrimSuffix(raw.buf.String(), "\x00"), "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		// :100644 100644 <old> <new> M
		meta := strings.Fields(fields[i])
		if len(meta) != 5 || meta[4] == "" {
			return nil, errors.New("git diff-tree: unexpected line")
		}
		list = append(list, change{path: fields[i+1], mode: meta[1], blob: meta[3], status: meta[4][0]})
	}
	return list, nil
}

// split cuts the output of diff-tree --patch into one text a file. Lines of content
// begin with a sign, those of binary patches hold no blank.
func split(text []byte) (parts []string) {
	begin := []byte("diff --git ")
	for len(text) > 0 {
		end := bytes.Index(text[1:], append([]byte{'\n'}, begin...))
		if end < 0 {
			return append(parts, string(text))
		}
		parts, text = append(parts, string(text[:end+2])), text[end+2:]
	}
	return parts
}

// contents adds the new content of binary files to patches of used bytes.
func (g *Git) contents(ctx context.Context, root string, changes []change, patches []Patch, used, limit int64) error {
	var wanted []int
	var names bytes.Buffer
	for i, c := range changes {
		if c.operation() != Delete && c.mode != "160000" && strings.Contains(patches[i].Diff, "\nGIT binary patch\n") {
			wanted = append(wanted, i)
			names.WriteString(c.blob + "\n")
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	out := &counted{limit: limit - used}
	if _, err := g.run(ctx, command{root: root, stdin: &names, stdout: out}, "cat-file", "--batch"); err != nil {
		return err
	}
	if size := used + out.size*4/3; size > limit {
		return &TooLargeError{Size: size, Limit: limit}
	}
	in := bufio.NewReader(&out.buf)
	for _, i := range wanted {
		head, err := in.ReadString('\n') // <id> blob <size>
		if err != nil {
			return fmt.Errorf("git cat-file: %w", err)
		}
		f := strings.Fields(head)
		size, err := strconv.ParseInt(f[len(f)-1], 10, 64)
		if len(f) != 3 || err != nil {
			return fmt.Errorf("git cat-file: %s", short(strings.TrimSpace(head)))
		}
		content := make([]byte, size+1) // and a line feed
		if _, err := io.ReadFull(in, content); err != nil {
			return fmt.Errorf("git cat-file: %w", err)
		}
		patches[i].BinaryContent = base64.StdEncoding.EncodeToString(content[:size])
	}
	return nil
}

// counted keeps what is written to it up to its limit, and counts the rest.
type counted struct {
	buf   bytes.Buffer
	limit int64
	size  int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.size += int64(len(b))
	if c.size <= c.limit {
		c.buf.Write(b)
	} else if c.buf.Cap() > 0 {
		c.buf = bytes.Buffer{}
	}
	return len(b), nil
}
