package rpc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Where prompts live below the workspace, and how much of it is shown.
const (
	workspaceFolder = ".smithers"
	promptsFolder   = "prompts"
	maxPrompts      = 1_000
	maxPromptBytes  = 1 << 20
	maxPromptsShown = 32 << 20
	maxPromptsSeen  = 20_000 // entries looked at
)

// listPrompts reads the prompt files of the workspace as they are now. Nothing outside
// the folder is read, whatever its links say.
func (r *Router) listPrompts(ctx context.Context, _ *Call, _ params) (any, error) {
	rows := []wire.PromptRow{}
	workspace := ""
	if r.deps.Workspace != nil {
		workspace = r.deps.Workspace()
	}
	if workspace == "" {
		return rows, nil
	}
	root, err := os.OpenRoot(filepath.Join(workspace, workspaceFolder, promptsFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return rows, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // reading only
	seen, shown := 0, 0
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if seen++; seen > maxPromptsSeen || len(rows) == maxPrompts || shown > maxPromptsShown {
			return fs.SkipAll
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || entry.IsDir() { // what cannot be read is left out
			return nil
		}
		if row, ok := prompt(root, name); ok {
			shown += len(row.Source)
			rows = append(rows, row)
		}
		return nil
	})
	slices.SortFunc(rows, func(a, b wire.PromptRow) int { return cmp.Compare(a.ID, b.ID) })
	return rows, err
}

// prompt reads one file; false for one that is no prompt. Both times are that of the
// last change: file systems do not tell of the first in a common way.
func prompt(root *os.Root, name string) (row wire.PromptRow, ok bool) {
	extension := path.Ext(name)
	if extension != ".md" && extension != ".mdx" {
		return row, false
	}
	f, err := root.Open(name)
	if err != nil {
		return row, false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPromptBytes {
		return row, false
	}
	source, err := io.ReadAll(io.LimitReader(f, maxPromptBytes))
	if err != nil || !utf8.Valid(source) {
		return row, false
	}
	at := info.ModTime().UnixMilli()
	return wire.PromptRow{ID: strings.TrimSuffix(name, extension), EntryFile: path.Join(promptsFolder, name),
		Source: string(source), CreatedAtMs: at, UpdatedAtMs: at}, true
}
