package jsmod

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// Inspection tells what a module is made of, packages apart.
type Inspection struct {
	Root string // as FindRoot says, or as it was given
	// Smithers is how the module comes to import smithers-orchestrator: files and the
	// import, outermost first; nil when it does not.
	Smithers []string
	// Hash, SHA-256 in hex, changes when a file of the module does, or the lockfile of
	// its root, or the installed smithers-orchestrator.
	Hash string
}

// Inspect follows the imports of the module at path through local files, without
// bundling or running anything. Imports that lead nowhere and files that cannot be
// parsed are no errors here: whoever runs the module will say what is wrong. Errors:
// the module is missing (fs.ErrNotExist), is a folder, or lies outside of root.
func Inspect(path, root string) (*Inspection, error) {
	entry, root, err := locate(path, root)
	if err != nil {
		return nil, &BuildError{Path: path, Err: err}
	}
	in := &inspector{resolver: newResolver(entry, root), loaded: map[string]bool{entry: true}}
	if mayImport(entry) { // else there is nothing to follow, and a start need not wait for esbuild
		api.Build(api.BuildOptions{
			EntryPoints: []string{entry}, AbsWorkingDir: root, Bundle: true, Write: false, Outdir: root,
			Format: api.FormatESModule, Platform: api.PlatformNode, Packages: api.PackagesExternal, JSX: api.JSXAutomatic,
			LogLevel: api.LogLevelSilent, Plugins: []api.Plugin{in.plugin()},
		})
	}
	hash, err := in.hash()
	if err != nil {
		return nil, &BuildError{Path: path, Err: err}
	}
	return &Inspection{Root: root, Smithers: in.found, Hash: hash}, nil
}

// mayImport reports whether a file could import another, by what any way to do so has in its
// text: a keyword, which no escape may be in, or the name require, which may have some. JSX
// imports what settings elsewhere name.
func mayImport(file string) bool {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts":
	default:
		return true
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return true
	}
	for _, sign := range []string{"import", "from", "require", `\u`} {
		if bytes.Contains(text, []byte(sign)) {
			return true
		}
	}
	return false
}

// inspector collects what esbuild comes across.
type inspector struct {
	*resolver
	loaded map[string]bool
	found  []string
}

// scriptExtensions are of the files whose imports count. All others are read for the hash only.
var scriptExtensions = []string{".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".json"}

func (in *inspector) plugin() api.Plugin {
	return api.Plugin{Name: "inspect", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			if _, own := args.PluginData.(ownResolve); own || args.Kind == api.ResolveEntryPoint {
				return api.OnResolveResult{}, nil
			}
			return in.look(b, args), nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "file"}, func(args api.OnLoadArgs) (api.OnLoadResult, error) {
			in.mu.Lock()
			in.loaded[args.Path] = true
			in.mu.Unlock()
			if slices.Contains(scriptExtensions, strings.ToLower(filepath.Ext(args.Path))) {
				return api.OnLoadResult{}, nil
			}
			empty := ""
			return api.OnLoadResult{Contents: &empty, Loader: api.LoaderEmpty}, nil
		})
	}}
}

func (in *inspector) look(b api.PluginBuild, args api.OnResolveArgs) api.OnResolveResult {
	if isSmithers(args.Path) {
		in.mu.Lock()
		defer in.mu.Unlock()
		if chain := in.chain(args.Importer, args.Path); in.found == nil || len(chain) < len(in.found) {
			in.found = chain
		}
		return api.OnResolveResult{Path: args.Path, External: true}
	}
	found := b.Resolve(args.Path, api.ResolveOptions{
		Importer: args.Importer, ResolveDir: args.ResolveDir, Kind: args.Kind, PluginData: ownResolve{}, With: args.With,
	})
	if len(found.Errors) > 0 || found.External || found.Namespace != "file" {
		return api.OnResolveResult{Path: args.Path, External: true}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, known := in.importers[found.Path]; !known && found.Path != in.entry {
		in.importers[found.Path] = args.Importer
	}
	return api.OnResolveResult{}
}

// hash sums up the module's files, the lockfile, and the manifest of the package.
func (in *inspector) hash() (string, error) {
	files := make([]string, 0, len(in.loaded)+4)
	for file := range in.loaded {
		files = append(files, file)
	}
	for _, mark := range rootMarks {
		files = append(files, filepath.Join(in.root, mark))
	}
	for dir := filepath.Dir(in.entry); ; dir = filepath.Dir(dir) {
		files = append(files, filepath.Join(dir, "node_modules", smithersPackage, "package.json"))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	for _, file := range files {
		content, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", err
		}
		fmt.Fprintf(sum, "%s\x00%d\x00", file, len(content))
		_, _ = sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
