package jsmod

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "compile the prelude and write compiled")

// The bytecode that is checked in is what the sources give.
func TestPreludeIsCompiled(t *testing.T) {
	p, err := compilePrelude()
	require.NoError(t, err)
	made := map[string][]byte{compiledCore: p.core}
	for name, compiled := range p.chunks {
		made[name], err = compiled()
		require.NoError(t, err, name)
		require.NotEmpty(t, made[name], name)
	}
	stamp, err := preludeStamp(made)
	require.NoError(t, err)
	made[compiledStamp] = []byte(stamp)
	if *update {
		require.NoError(t, os.RemoveAll(compiledDir))
		require.NoError(t, os.Mkdir(compiledDir, 0o755))
		for name, b := range made {
			require.NoError(t, os.WriteFile(filepath.Join(compiledDir, name), b, 0o644))
		}
		return
	}
	const how = "run this test with -update"
	entries, err := compiledFiles.ReadDir(compiledDir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, slices.Sorted(maps.Keys(made)), names, how)
	for name, b := range made {
		kept, err := readCompiled(name)
		require.NoError(t, err)
		require.True(t, slices.Equal(b, kept), "%s: %s", name, how)
	}
	kept, ok := precompiledPrelude()
	require.True(t, ok)
	require.Equal(t, slices.Sorted(maps.Keys(p.chunks)), slices.Sorted(maps.Keys(kept.chunks)))
}
