package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// pinned are the modules that must not move: the JavaScript engine and SQLite are
// C code translated for one exact version of libc, and another one crashes at run
// time, not at compile time.
var pinned = []string{"modernc.org/libc", "modernc.org/libquickjs", "modernc.org/sqlite"}

// binaryModules reads which modules a binary was built from, as `go version -m`
// shows them. A replaced module counts under its own path.
func binaryModules(path string) (map[string]string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", path, err)
	}
	versions := make(map[string]string, len(info.Deps))
	for _, m := range info.Deps {
		versions[m.Path] = m.Version
	}
	return versions, nil
}

// move is a module that a build took in another version than go.mod says.
type move struct{ module, want, got string }

func moves(have, want map[string]string) []move {
	var list []move
	for _, path := range slices.Sorted(maps.Keys(have)) {
		if v, ok := want[path]; ok && v != have[path] {
			list = append(list, move{path, v, have[path]})
		}
	}
	return list
}

// checkModules compares what a finished binary contains with go.mod. Without
// plugins every version must agree; with plugins they may raise what they need,
// except the pinned modules.
func checkModules(ctx context.Context, c *console, co *checkout, o buildOptions, binary string) error {
	have, err := binaryModules(binary)
	if err != nil {
		return err
	}
	for _, m := range moves(have, co.versions) {
		if slices.Contains(pinned, m.module) || len(o.plugins) == 0 {
			return fmt.Errorf("%s was built as %s, but go.mod pins %s: moved by %s. No binary was written",
				m.module, m.got, m.want, mover(ctx, co, o, have, m))
		}
		c.note("  note: %s is %s here, %s in go.mod.", m.module, m.got, m.want)
	}
	return nil
}

// mover names the plugin whose go.mod asks for the version that was taken, or the
// module that does when no plugin says so itself.
func mover(ctx context.Context, co *checkout, o buildOptions, have map[string]string, m move) string {
	for _, p := range o.plugins {
		gomod := filepath.Join(p.path, "go.mod")
		if p.path == "" {
			path, version := owner(p.module, have)
			gomod = moduleFile(ctx, co, path, version)
		}
		if asks(ctx, gomod, m) {
			return "plugin " + p.String()
		}
	}
	for _, path := range slices.Sorted(maps.Keys(have)) {
		if co.versions[path] == have[path] || path == modulePath {
			continue
		}
		if asks(ctx, moduleFile(ctx, co, path, have[path]), m) {
			return path + "@" + have[path]
		}
	}
	if len(o.plugins) > 0 {
		names := make([]string, len(o.plugins))
		for i, p := range o.plugins {
			names[i] = p.String()
		}
		return "one of " + strings.Join(names, ", ")
	}
	return "the module proxy's resolution; run `go mod tidy` in the checkout"
}

// owner finds the module of a build that holds a package.
func owner(pkg string, have map[string]string) (path, version string) {
	for p, v := range have {
		if (pkg == p || strings.HasPrefix(pkg, p+"/")) && len(p) > len(path) {
			path, version = p, v
		}
	}
	return path, version
}

func asks(ctx context.Context, gomod string, m move) bool {
	if gomod == "" {
		return false
	}
	versions, err := requirements(ctx, gomod)
	return err == nil && versions[m.module] == m.got
}

// moduleFile returns the path of a module's go.mod in the module cache, or "".
func moduleFile(ctx context.Context, co *checkout, path, version string) string {
	if path == "" || version == "" {
		return ""
	}
	out, err := goOutput(ctx, co.root, "mod", "download", "-json", path+"@"+version)
	if err != nil {
		return ""
	}
	var info struct{ GoMod string }
	if json.Unmarshal(out, &info) != nil {
		return ""
	}
	return info.GoMod
}
