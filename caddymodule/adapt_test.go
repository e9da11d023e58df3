package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata/adapt with what the adapter gives now")

func adapt(t testing.TB, name, caddyfile string) (config []byte, err error) {
	t.Helper()
	config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": name})
	return config, err
}

// TestAdapt compares every Caddyfile of testdata/adapt with the JSON or the error
// beside it.
func TestAdapt(t *testing.T) {
	t.Setenv("WINDOW_FROM_ENV", "500")
	files, err := filepath.Glob("testdata/adapt/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			source := string(archive.Files[0].Data)
			require.Equal(t, "Caddyfile", archive.Files[0].Name)

			got := txtar.File{Name: "json"}
			config, err := adapt(t, "Caddyfile", source)
			if err != nil {
				got = txtar.File{Name: "error", Data: []byte(err.Error() + "\n")}
			} else {
				var out bytes.Buffer
				require.NoError(t, json.Indent(&out, config, "", "\t"))
				out.WriteByte('\n')
				got.Data = out.Bytes()
			}
			if *update {
				archive.Files = []txtar.File{archive.Files[0], got}
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
				return
			}
			require.Len(t, archive.Files, 2, "run the test with -update")
			require.Equal(t, archive.Files[1].Name, got.Name, string(got.Data))
			require.Equal(t, string(archive.Files[1].Data), string(got.Data))
		})
	}
}

// TestAdaptCoversEveryWord holds the golden files complete: every setting occurs in
// one that adapts and in one that fails.
func TestAdaptCoversEveryWord(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.txtar")
	require.NoError(t, err)
	good, bad := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(t, err)
		require.Len(t, archive.Files, 2, file)
		into := good
		if archive.Files[1].Name == "error" {
			into = bad
		}
		for line := range strings.Lines(string(archive.Files[0].Data)) {
			if fields := strings.Fields(line); len(fields) > 0 {
				into[fields[0]] = true
			}
		}
	}
	for _, word := range allowedWords() {
		require.True(t, good[word], "no golden file sets %s", word)
		require.True(t, bad[word], "no golden file shows an error of %s", word)
	}
}

// TestDocumentationNamesEveryWord holds the syntax in the doc comment complete.
func TestDocumentationNamesEveryWord(t *testing.T) {
	source, err := os.ReadFile("caddyfile.go")
	require.NoError(t, err)
	for _, word := range allowedWords() {
		require.Contains(t, string(source), "//\t    "+word+" ", "not in the comment of UnmarshalCaddyfile")
	}
}
