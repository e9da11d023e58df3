package jsmod

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// compiledFiles is the prelude's bytecode, a file each part, and the stamp of what it was
// made from. Compiling takes more processor time than the rest of a start of the host.
// go test ./gateway/internal/jsmod -run TestPreludeIsCompiled -update writes them.
//
//go:embed compiled
var compiledFiles embed.FS

const (
	compiledDir   = "compiled"
	compiledCore  = "core"
	compiledStamp = "stamp"
)

// precompiledPrelude returns the prelude that is compiled already. ok is false when it is
// of other sources or for another engine, as after a change or in a program with another
// version of the engine.
func precompiledPrelude() (p *prelude, ok bool) {
	names, err := chunkNames()
	if err != nil {
		return nil, false
	}
	parts := map[string][]byte{}
	for _, name := range append(names, compiledCore) {
		if parts[name], err = readCompiled(name); err != nil {
			return nil, false
		}
	}
	stamp, err := preludeStamp(parts)
	if err != nil {
		return nil, false
	}
	if made, err := readCompiled(compiledStamp); err != nil || string(made) != stamp {
		return nil, false
	}
	p = &prelude{core: parts[compiledCore], chunks: map[string]chunk{}}
	for _, name := range names {
		p.chunks[name] = func() ([]byte, error) { return parts[name], nil }
	}
	return p, true
}

func readCompiled(name string) ([]byte, error) {
	return compiledFiles.ReadFile(path.Join(compiledDir, name))
}

// preludeStamp names the sources of the prelude, the bytecode that the engine reads, and what
// was made of them: the engine does not look whether bytecode is whole.
func preludeStamp(parts map[string][]byte) (string, error) {
	sum := sha256.New()
	_, _ = sum.Write([]byte(quickjs.Bytecode()))
	err := fs.WalkDir(preludeFiles, "js", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := preludeFiles.ReadFile(name)
		_, _ = sum.Write([]byte("\x00" + name + "\x00"))
		_, _ = sum.Write(b)
		return err
	})
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		_, _ = sum.Write([]byte("\x00" + name + "\x00"))
		_, _ = sum.Write(parts[name])
	}
	return hex.EncodeToString(sum.Sum(nil)) + "\n", err
}
