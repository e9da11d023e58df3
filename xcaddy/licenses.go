package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

const licensesAbout = `Write the licences and notices of all that a binary is made of: Go and every module that
the binary itself names, in that order, from the module cache.

Usage: go run ./xcaddy licenses [options]

Example: go run ./xcaddy licenses --binary bin/smithers-gateway --output THIRD_PARTY_LICENSES`

// licenseName is what files are called that have to go with a binary.
var licenseName = regexp.MustCompile(`(?i)^(.*licen[cs]e|copying|notice|copyright|patents)([-_.][^/]*)?$`)

// notLicense are sources that are called so.
var notLicense = regexp.MustCompile(`(?i)\.(go|s|c|h|js|json|html|png|svg|sh|tmpl)$`)

func licensesCommand(ctx context.Context, c *console, args []string) error {
	fs := newFlags(c, "licenses", licensesAbout)
	binary := fs.String("binary", "", "the `FILE` to look at (default bin/smithers-gateway of the checkout)")
	output := fs.String("output", "", "write to `FILE` (default: to the standard output)")
	if err := parse(fs, args); err != nil {
		return err
	}
	co, err := findCheckout(ctx, ".")
	if err != nil {
		return err
	}
	if *binary == "" {
		*binary = co.binary()
	}
	var text bytes.Buffer
	if err := writeLicenses(ctx, &text, co, *binary); err != nil {
		return err
	}
	if *output == "" {
		_, err = c.out.Write(text.Bytes())
		return err
	}
	return os.WriteFile(*output, text.Bytes(), 0o644) //nolint:gosec // it is to be read
}

// writeLicenses writes the same bytes for the same build info. A module of others
// without a licence is an error: nobody may distribute it.
func writeLicenses(ctx context.Context, w io.Writer, co *checkout, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("modules of %s: %w", binary, err)
	}
	folders, err := moduleFolders(ctx, co, info.Deps)
	if err != nil {
		return err
	}
	root, err := goOutput(ctx, co.root, "env", "GOROOT")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Smithers Gateway contains the following software, under the licences below.\n")
	if err := writeModule(w, info.GoVersion, strings.TrimSpace(string(root)), false); err != nil {
		return err
	}
	for _, m := range info.Deps { // sorted by the linker
		if m.Path == modulePath {
			continue // ours, which LICENSE is of
		}
		if err := writeModule(w, m.Path+" "+m.Version, folders[m.Path], true); err != nil {
			return err
		}
	}
	return nil
}

// moduleFolders returns where the files of each module are.
func moduleFolders(ctx context.Context, co *checkout, deps []*debug.Module) (map[string]string, error) {
	folders, named := map[string]string{}, map[string]string{}
	args := []string{"mod", "download", "-json"}
	for _, m := range deps {
		taken := m
		if m.Replace != nil {
			taken = m.Replace
		}
		switch {
		case m.Path == modulePath:
		case taken.Version == "": // a folder, which --with named
			folders[m.Path] = taken.Path
		default:
			args = append(args, taken.Path+"@"+taken.Version)
			named[taken.Path+"@"+taken.Version] = m.Path
		}
	}
	out, err := goOutput(ctx, co.root, args...)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var m struct{ Path, Version, Dir string }
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		folders[named[m.Path+"@"+m.Version]] = m.Dir
	}
}

// writeModule writes each licence of a folder once, and with below those of the folders
// in it, whose code may come from elsewhere.
func writeModule(w io.Writer, heading, folder string, below bool) error {
	var names []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == folder:
			return err
		case d.IsDir() && (!below || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.Type().IsRegular() && licenseName.MatchString(d.Name()) && !notLicense.MatchString(d.Name()):
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("licences of %s: %w", heading, err)
	}
	if len(names) == 0 {
		return fmt.Errorf("licences of %s: there is none in %s", heading, folder)
	}
	// Those at the top first.
	slices.SortStableFunc(names, func(a, b string) int {
		return strings.Count(a, string(filepath.Separator)) - strings.Count(b, string(filepath.Separator))
	})
	fmt.Fprintf(w, "\n%s\n%s\n", strings.Repeat("=", 80), heading)
	seen := map[string]bool{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("licences of %s: %w", heading, err)
		}
		short, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		if key := strings.Join(strings.Fields(string(text)), " "); !seen[key] {
			seen[key] = true
			fmt.Fprintf(w, "\n--- %s\n\n%s\n", filepath.ToSlash(short), bytes.TrimSpace(text))
		}
	}
	return nil
}
