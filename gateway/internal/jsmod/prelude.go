package jsmod

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

//go:embed js
var preludeFiles embed.FS

// The engine names every script "<eval>". The prelude's bytecode gets another name
// of the same length, so that its frames can be told from the module's.
const (
	scriptName  = "<eval>"
	preludeName = "<host>"
)

// prelude is the JavaScript of this package: the core that every VM runs, compiled, and
// the chunks that load when a global of theirs is first used.
type prelude struct {
	core   []byte
	chunks map[string]chunk
}

// chunk returns the bytecode of a chunk, which it compiles when it is first called: a start
// need not wait for it. Safe for concurrent use, also within a slice.
type chunk func() ([]byte, error)

// loadPrelude returns the prelude, which it compiles only if it must.
func loadPrelude() (*prelude, error) {
	if p, ok := precompiledPrelude(); ok {
		return p, nil
	}
	return compilePrelude()
}

func compilePrelude() (*prelude, error) {
	core, err := fs.Glob(preludeFiles, "js/core/*.js")
	if err != nil {
		return nil, err
	}
	slices.Sort(core)
	var source strings.Builder
	source.WriteString("(function (host, job) {\n'use strict';\n")
	for _, name := range core {
		b, err := preludeFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		source.Write(b)
	}
	source.WriteString("})")
	p := &prelude{chunks: map[string]chunk{}}
	if p.core, err = compilePart(source.String()); err != nil {
		return nil, fmt.Errorf("compiling the prelude: %w", err)
	}
	names, err := chunkNames()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		p.chunks[name] = sync.OnceValues(func() ([]byte, error) {
			b, err := preludeFiles.ReadFile(webDir + name + ".js")
			if err != nil {
				return nil, err
			}
			code, err := compilePart("(function (internals) {\n'use strict';\n" + string(b) + "})")
			if err != nil {
				return nil, fmt.Errorf("compiling %s: %w", name, err)
			}
			return code, nil
		})
	}
	return p, nil
}

// webDir holds the chunks, a file each.
const webDir = "js/web/"

func chunkNames() ([]string, error) {
	files, err := fs.Glob(preludeFiles, webDir+"*.js")
	for i, file := range files {
		files[i] = strings.TrimSuffix(path.Base(file), ".js")
	}
	return files, err
}

// compileChunks compiles the chunks before a run needs them, where they are not compiled
// already.
func (h *Host) compileChunks() {
	for _, c := range h.prelude.chunks {
		if h.ctx.Err() != nil {
			return
		}
		_, _ = c() // whoever needs it is told
	}
}

// compilePart compiles a part of the prelude, minified first: every VM has to load
// it, and short names load faster. It takes no worker, so that a slice may wait for it.
func compilePart(source string) (code []byte, err error) {
	r := api.Transform(source, api.TransformOptions{
		Loader: api.LoaderJS, Target: api.ES2023, MinifyWhitespace: true, MinifyIdentifiers: true, LogLevel: api.LogLevelSilent,
		Supported: lowered(false),
	})
	if len(r.Errors) > 0 {
		return nil, fmt.Errorf("%s (line %d)", r.Errors[0].Text, r.Errors[0].Location.Line)
	}
	thread := quickjs.NewThread()
	defer thread.Close()
	js := quickjs.New(nil)
	if err := js.Use(thread); err != nil {
		return nil, fmt.Errorf("starting the JavaScript engine: %w", err)
	}
	defer js.Close()
	if code, err = js.Compile(string(r.Code), false); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(code, []byte(scriptName), []byte(preludeName)), nil
}

// compile turns a module's script into bytecode.
func (h *Host) compile(source string) ([]byte, error) {
	vm := h.emptyVM()
	var code []byte
	err := h.slice(vm, compileLimit, func() (err error) {
		vm.js.SetMemoryLimit(math.MaxInt64) // the compiler may need more than what it makes
		code, err = vm.js.CompileWrapped(source)
		return err
	})
	if errors.Is(err, errAbandoned) {
		return nil, err // its goroutine frees the VM
	}
	vm.free()
	return code, err
}

func encodeEnv(env map[string]string) (string, error) {
	if env == nil {
		env = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if k == "" || strings.ContainsAny(k, "=\x00") {
			return "", fmt.Errorf("environment variable name %q is not valid", k)
		}
	}
	b, err := json.Marshal(env)
	return string(b), err
}
