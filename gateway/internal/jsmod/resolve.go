package jsmod

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"
)

// resolver watches how esbuild resolves imports: it keeps them below the root, turns
// Node built-ins and smithers-orchestrator into errors that name the way there, and
// remembers who imported whom.
type resolver struct {
	entry, root string

	mu        sync.Mutex
	importers map[string]string // file -> the file that imported it first
	problems  []problem
}

// problem is an import that was refused for a reason of ours.
type problem struct {
	err   error
	text  string
	chain []string
}

func newResolver(entry, root string) *resolver {
	return &resolver{entry: entry, root: root, importers: map[string]string{}}
}

// ownResolve marks the plugin's own calls of Resolve, which it must not handle again.
type ownResolve struct{}

func (r *resolver) plugin() api.Plugin {
	return api.Plugin{Name: "smithers", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			if _, own := args.PluginData.(ownResolve); own {
				return api.OnResolveResult{}, nil
			}
			return r.resolve(b, args)
		})
	}}
}

func (r *resolver) resolve(b api.PluginBuild, args api.OnResolveArgs) (api.OnResolveResult, error) {
	switch {
	case isSmithers(args.Path):
		return r.refuse(args, ErrSmithersModule, fmt.Sprintf("%q is imported", args.Path)), nil
	case strings.Contains(args.Path, "://") || strings.HasPrefix(args.Path, "//"):
		return r.refuse(args, nil, fmt.Sprintf("%q is a URL; install the package and import it by name", args.Path)), nil
	}
	found := b.Resolve(args.Path, api.ResolveOptions{
		Importer: args.Importer, Namespace: args.Namespace, ResolveDir: args.ResolveDir, Kind: args.Kind, PluginData: ownResolve{}, With: args.With,
	})
	builtin := isBuiltin(args.Path)
	if len(found.Errors) > 0 || (builtin && found.External) {
		if builtin {
			text := fmt.Sprintf("%q is built into Node.js and does not exist here; workflow modules have the web platform's globals (fetch, URL, crypto, …) and exec", args.Path)
			return r.refuse(args, ErrBuiltin, text), nil
		}
		return api.OnResolveResult{Errors: found.Errors, Warnings: found.Warnings}, nil
	}
	// An empty answer lets esbuild resolve by itself: only then does it apply the
	// tsconfig.json around the file.
	if found.Namespace != "file" {
		return api.OnResolveResult{}, nil
	}
	real, err := filepath.EvalSymlinks(found.Path)
	if err == nil && !inside(r.root, real) {
		text := fmt.Sprintf("%q leads to %s, outside of the module root %s", args.Path, filepath.Base(real), filepath.Base(r.root))
		return r.refuse(args, ErrOutsideRoot, text), nil
	}
	r.mu.Lock()
	if _, known := r.importers[found.Path]; !known && found.Path != r.entry {
		r.importers[found.Path] = args.Importer
	}
	r.mu.Unlock()
	return api.OnResolveResult{}, nil
}

func (r *resolver) refuse(args api.OnResolveArgs, err error, text string) api.OnResolveResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := problem{err: err, text: text, chain: r.chain(args.Importer, args.Path)}
	r.problems = append(r.problems, p)
	return api.OnResolveResult{Errors: []api.Message{{Text: text}}}
}

// chain lists how the entry came to import a name, outermost first.
func (r *resolver) chain(importer, name string) []string {
	chain := []string{name}
	for file := importer; file != "" && len(chain) < 50; file = r.importers[file] {
		if filepath.Base(file) == entryName {
			break
		}
		rel, err := filepath.Rel(r.root, file)
		if err != nil {
			rel = filepath.Base(file)
		}
		chain = append(chain, filepath.ToSlash(rel))
		if file == r.entry {
			break
		}
	}
	slices.Reverse(chain)
	return chain
}

func isSmithers(path string) bool {
	return path == smithersPackage || strings.HasPrefix(path, smithersPackage+"/")
}

// smithersPackage is what only the Smithers runtime can run.
const smithersPackage = "smithers-orchestrator"

func isBuiltin(path string) bool {
	if strings.HasPrefix(path, "node:") || strings.HasPrefix(path, "bun:") || path == "bun" {
		return true
	}
	name, _, _ := strings.Cut(path, "/")
	return slices.Contains(nodeBuiltins, name)
}

// nodeBuiltins are the modules that come with Node.js, sorted.
var nodeBuiltins = []string{
	"assert", "async_hooks", "buffer", "child_process", "cluster", "console", "constants", "crypto", "dgram", "diagnostics_channel", "dns",
	"domain", "events", "fs", "http", "http2", "https", "inspector", "module", "net", "os", "path", "perf_hooks", "process", "punycode",
	"querystring", "readline", "repl", "stream", "string_decoder", "sys", "timers", "tls", "trace_events", "tty", "url", "util", "v8", "vm",
	"wasi", "worker_threads", "zlib",
}
