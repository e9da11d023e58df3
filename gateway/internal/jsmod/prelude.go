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

	"github.com/evanw/esbuild/pkg/api"
)

//go:embed js
var preludeFiles embed.FS

// The engine names every script "<eval>". The prelude's bytecode gets another name
// of the same length, so that its frames can be told from the module's.
const (
	scriptName  = "<eval>"
	preludeName = "<host>"
)

// prelude is the compiled JavaScript of this package: the core that every VM runs
// and the chunks that load when a global of theirs is first used.
type prelude struct {
	core   []byte
	chunks map[string][]byte
}

func (h *Host) compilePrelude() (*prelude, error) {
	core, err := fs.Glob(preludeFiles, "js/core/*.js")
	if err != nil {
		return nil, err
	}
	slices.Sort(core)
	var source strings.Builder
	source.WriteString("(function (host) {\n'use strict';\n")
	for _, name := range core {
		b, err := preludeFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		source.Write(b)
	}
	source.WriteString("})")
	p := &prelude{chunks: map[string][]byte{}}
	if p.core, err = h.compilePart(source.String()); err != nil {
		return nil, fmt.Errorf("compiling the prelude: %w", err)
	}
	web, err := fs.Glob(preludeFiles, "js/web/*.js")
	if err != nil {
		return nil, err
	}
	for _, name := range web {
		b, err := preludeFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		code, err := h.compilePart("(function (internals) {\n'use strict';\n" + string(b) + "})")
		if err != nil {
			return nil, fmt.Errorf("compiling %s: %w", name, err)
		}
		p.chunks[strings.TrimSuffix(path.Base(name), ".js")] = code
	}
	return p, nil
}

// compilePart compiles a part of the prelude, minified first: every VM has to load
// it, and short names load faster.
func (h *Host) compilePart(source string) ([]byte, error) {
	r := api.Transform(source, api.TransformOptions{
		Loader: api.LoaderJS, Target: api.ES2023, MinifyWhitespace: true, MinifyIdentifiers: true, LogLevel: api.LogLevelSilent,
		Supported: lowered(false),
	})
	if len(r.Errors) > 0 {
		return nil, fmt.Errorf("%s (line %d)", r.Errors[0].Text, r.Errors[0].Location.Line)
	}
	return h.compile(string(r.Code), preludeName)
}

// compile turns a script into bytecode whose frames carry the given name of six
// characters.
func (h *Host) compile(source, name string) ([]byte, error) {
	vm := h.emptyVM()
	var code []byte
	err := h.slice(vm, compileLimit, func() (err error) {
		vm.js.SetMemoryLimit(math.MaxInt64) // the compiler may need more than what it makes
		code, err = vm.js.Compile(source, name != preludeName)
		return err
	})
	if errors.Is(err, errAbandoned) {
		return nil, err // its goroutine frees the VM
	}
	vm.free()
	if err != nil {
		return nil, err
	}
	if name != scriptName {
		code = bytes.ReplaceAll(code, []byte(scriptName), []byte(name))
	}
	return code, nil
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
