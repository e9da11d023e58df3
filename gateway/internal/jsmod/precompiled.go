package jsmod

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"path"

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
	stamp, err := preludeStamp()
	if err != nil {
		return nil, false
	}
	if made, err := readCompiled(compiledStamp); err != nil || string(made) != stamp {
		return nil, false
	}
	p = &prelude{chunks: map[string]chunk{}}
	if p.core, err = readCompiled(compiledCore); err != nil {
		return nil, false
	}
	names, err := chunkNames()
	if err != nil {
		return nil, false
	}
	for _, name := range names {
		p.chunks[name] = func() ([]byte, error) { return readCompiled(name) }
	}
	return p, true
}

func readCompiled(name string) ([]byte, error) {
	return compiledFiles.ReadFile(path.Join(compiledDir, name))
}

// preludeStamp names the sources of the prelude and the bytecode that the engine reads.
func preludeStamp() (string, error) {
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
	return hex.EncodeToString(sum.Sum(nil)) + "\n", err
}
