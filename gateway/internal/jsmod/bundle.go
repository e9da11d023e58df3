package jsmod

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// Bundle is a module with everything it imports, as one script. Source alone
// decides the Hash, the SHA-256 in hex.
type Bundle struct {
	Hash      string
	Path      string // of the module, as given to Build
	Source    []byte
	SourceMap []byte
}

// BuildOptions tune Build.
type BuildOptions struct {
	// Root is the folder that imports may not leave; "" means FindRoot of the module.
	Root string
}

const entryName = "smithers-entry.js"

// Build bundles a module: .mjs, .js, .ts, .tsx, with what it imports. The same files
// give the same bytes. Errors are a *BuildError; it wraps ErrSmithersModule when the
// module imports smithers-orchestrator, fs.ErrNotExist when it is missing.
func (h *Host) Build(ctx context.Context, path string, options BuildOptions) (*Bundle, error) {
	entry, root, err := locate(path, options.Root)
	if err != nil {
		return nil, &BuildError{Path: path, Err: err}
	}
	result, problems := bundle(entry, root, api.FormatIIFE)
	if needsTopLevelAwait(result.Errors) {
		result, problems = bundleAsync(entry, root)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := buildError(path, result.Errors, problems); err != nil {
		return nil, err
	}
	b := &Bundle{Path: path}
	for _, f := range result.OutputFiles {
		if strings.HasSuffix(f.Path, ".map") {
			b.SourceMap = f.Contents
		} else {
			b.Source = f.Contents
		}
	}
	sum := sha256.Sum256(b.Source)
	b.Hash = hex.EncodeToString(sum[:])
	return b, nil
}

// lowered lists the syntax that must not reach the engine: async code has to pass
// through Promise.prototype.then, where the prelude keeps its context.
func lowered(awaitAllowed bool) map[string]bool {
	s := map[string]bool{"async-await": false, "async-generator": false, "for-await": false}
	if awaitAllowed {
		s = map[string]bool{"top-level-await": true}
	}
	return s
}

func buildOptions(entry, root string, format api.Format, r *resolver) api.BuildOptions {
	return api.BuildOptions{
		Stdin: &api.StdinOptions{
			Contents:   fmt.Sprintf("import * as module from %q;\n__smithersModule(module);\n", filepath.ToSlash(entry)),
			ResolveDir: root,
			Sourcefile: entryName,
			Loader:     api.LoaderJS,
		},
		AbsWorkingDir:  root,
		Bundle:         true,
		Write:          false,
		Outfile:        filepath.Join(root, "bundle.js"),
		Format:         format,
		Platform:       api.PlatformNeutral,
		MainFields:     []string{"module", "main"},
		Conditions:     []string{"workerd", "worker", "module", "import", "default"},
		Target:         api.ES2023,
		Supported:      lowered(format == api.FormatESModule),
		Sourcemap:      api.SourceMapExternal,
		SourcesContent: api.SourcesContentExclude,
		LegalComments:  api.LegalCommentsNone,
		Charset:        api.CharsetUTF8,
		LogLevel:       api.LogLevelSilent,
		LogLimit:       20,
		Define: map[string]string{
			"process.env.NODE_ENV": `"production"`,
			"import.meta.url":      `"file:///` + filepath.Base(entry) + `"`,
		},
		Plugins: []api.Plugin{r.plugin()},
	}
}

func bundle(entry, root string, format api.Format) (api.BuildResult, *resolver) {
	r := newResolver(entry, root)
	return api.Build(buildOptions(entry, root, format, r)), r
}

// bundleAsync is for modules with top-level await, which a plain script cannot have:
// the bundle becomes the body of an async function, which is then lowered.
func bundleAsync(entry, root string) (api.BuildResult, *resolver) {
	r := newResolver(entry, root)
	o := buildOptions(entry, root, api.FormatESModule, r)
	o.Sourcemap = api.SourceMapInline
	result := api.Build(o)
	if len(result.Errors) > 0 || len(result.OutputFiles) != 1 {
		return result, r
	}
	code, sourceMap, found := strings.Cut(string(result.OutputFiles[0].Contents), "\n//# sourceMappingURL=")
	if !found {
		sourceMap = ""
	}
	// One line, so that the inner map's lines still fit.
	wrapped := "__smithersModule.run(async () => { \"use strict\"; " + code + "\n});\n//# sourceMappingURL=" + sourceMap
	lower := api.Transform(wrapped, api.TransformOptions{
		Loader: api.LoaderJS, Format: api.FormatIIFE, Target: api.ES2023, Supported: lowered(false), Sourcemap: api.SourceMapExternal,
		SourcesContent: api.SourcesContentExclude, Sourcefile: entryName, LegalComments: api.LegalCommentsNone, Charset: api.CharsetUTF8,
		LogLevel: api.LogLevelSilent,
	})
	return api.BuildResult{
		Errors: lower.Errors,
		OutputFiles: []api.OutputFile{
			{Path: "bundle.js", Contents: lower.Code}, {Path: "bundle.js.map", Contents: lower.Map},
		},
	}, r
}

func needsTopLevelAwait(errors []api.Message) bool {
	for _, m := range errors {
		if strings.HasPrefix(m.Text, "Top-level await") {
			return true
		}
	}
	return false
}
