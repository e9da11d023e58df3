package caddymodule

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// FuzzCaddyfile adapts any text after the word smithers: it is refused, or gives
// JSON that is the same each time and that the module reads and writes unchanged.
func FuzzCaddyfile(f *testing.F) {
	f.Setenv("WINDOW_FROM_ENV", "500")
	files, err := filepath.Glob("testdata/adapt/*.txtar")
	require.NoError(f, err)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		if _, text, found := strings.Cut(string(archive.Files[0].Data), "\tsmithers"); found {
			f.Add(strings.TrimSuffix(text, "\n}\n"))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4<<10 || strings.Contains(text, "import") {
			t.Skip("import reads whatever files it names")
		}
		source := ":8080 {\n\tsmithers" + text + "\n}\n"
		first, firstErr := adapt(t, "Caddyfile", source)
		second, secondErr := adapt(t, "Caddyfile", source)
		if firstErr != nil {
			require.Error(t, secondErr) // Caddy picks any of several matchers that it does not know
			return
		}
		require.NoError(t, secondErr)
		require.Equal(t, string(first), string(second))

		var config any
		require.NoError(t, json.Unmarshal(first, &config))
		for _, handler := range handlersIn(config) {
			delete(handler, "handler") // as Caddy does before it decodes a module
			requireReadsAsWritten(t, handler)
		}
	})
}

// handlersIn finds the smithers handlers anywhere in a configuration.
func handlersIn(config any) (found []map[string]any) {
	switch config := config.(type) {
	case []any:
		for _, item := range config {
			found = append(found, handlersIn(item)...)
		}
	case map[string]any:
		if config["handler"] == "smithers" {
			return []map[string]any{config}
		}
		for _, item := range config {
			found = append(found, handlersIn(item)...)
		}
	}
	return found
}

func requireReadsAsWritten(t *testing.T, object map[string]any) {
	t.Helper()
	written, err := json.Marshal(object)
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(written))
	decoder.DisallowUnknownFields()
	var handler Handler
	require.NoError(t, decoder.Decode(&handler), string(written))
	again, err := json.Marshal(&handler)
	require.NoError(t, err)
	require.JSONEq(t, string(written), string(again))
}
