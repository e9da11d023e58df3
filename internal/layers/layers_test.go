package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", Module+"/...")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		for _, f := range p.GoFiles { // tells the test cache what this test depends on
			_, err := os.Stat(filepath.Join(p.Dir, f))
			require.NoError(t, err)
		}
	}
}

// ours tells packages of the layers from everything else.
func ours(path string) bool {
	return path == Module || strings.HasPrefix(path, Module+"/")
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t) {
		if IsAside(p.ImportPath) {
			for _, i := range p.Imports {
				if ours(i) && !IsAside(i) {
					t.Errorf("%s is a tool for everybody, but imports %s", p.ImportPath, i)
				}
			}
			continue
		}
		level, entry, ok := Layer(p.ImportPath)
		if !ok {
			t.Errorf("%s belongs to no layer; add it to Order", p.ImportPath)
			continue
		}
		for _, i := range p.Imports {
			if !ours(i) || IsAside(i) {
				continue
			}
			below, other, _ := Layer(i)
			if below > level || (below == level && other != entry) {
				t.Errorf("%s imports %s: imports point downward only", p.ImportPath, i)
			}
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	for _, p := range list(t) {
		rel := strings.TrimPrefix(p.ImportPath, Module+"/")
		check := func(table map[string][]string, imports []string, how string) {
			for folder, names := range table {
				if !within(rel, folder) {
					continue
				}
				for _, i := range imports {
					for _, name := range names {
						if strings.HasPrefix(i, name) && !(ours(i) && within(strings.TrimPrefix(i, Module+"/"), folder)) {
							t.Errorf("%s %s %s", p.ImportPath, how, i)
						}
					}
				}
			}
		}
		check(Forbidden, p.Deps, "depends on")
		check(ForbiddenDirect, p.Imports, "imports")
	}
}

func TestLayerIsTheLongestEntry(t *testing.T) {
	for path, entry := range map[string]string{
		"gateway":                          "gateway",
		"gateway/wire":                     "gateway/wire",
		"gateway/internal/engine/sub":      "gateway/internal/engine",
		"gateway/internal/store":           "gateway/internal/store",
		"xcaddy/smithers-gateway":          "xcaddy",
		"caddymodule":                      "caddymodule",
		"gateway/internal/something-fresh": "gateway",
	} {
		_, got, ok := Layer(Module + "/" + path)
		require.True(t, ok, path)
		require.Equal(t, entry, got, path)
	}
	_, _, ok := Layer(Module + "/elsewhere")
	require.False(t, ok)
}
