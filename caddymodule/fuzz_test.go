package caddymodule

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// seeds are the blocks behind the word smithers in testdata/adapt.
func seeds(f *testing.F) (blocks []string) {
	f.Setenv("WINDOW_FROM_ENV", "500")
	files, err := filepath.Glob("testdata/adapt/*.txtar")
	require.NoError(f, err)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		if _, text, found := strings.Cut(string(archive.Files[0].Data), "\tsmithers"); found {
			blocks = append(blocks, strings.TrimSuffix(text, "\n}\n"))
		}
	}
	require.NotEmpty(f, blocks)
	return blocks
}

// FuzzCaddyfile adapts any text after the word smithers: it is refused, or gives
// JSON that is the same each time and that the module reads and writes unchanged.
func FuzzCaddyfile(f *testing.F) {
	for _, block := range seeds(f) {
		f.Add(block)
	}
	f.Fuzz(adaptsOrRefuses)
}

// FuzzCaddyfileWords is the same for text of known words, which bytes that change seldom
// give. Each pair of bytes of edits is a place in a seed and a word that goes there.
func FuzzCaddyfileWords(f *testing.F) {
	blocks := seeds(f)
	words := allowedWords()
	for _, block := range blocks {
		words = append(words, fields(block)...)
	}
	words = append(words, "{", "}", "\n", "{env.WINDOW_FROM_ENV}", "{$WINDOW_FROM_ENV}", "{http.request.host}", `""`, "0", "-1", "1e9", "9223372036854775807", "15s", "1h30m", "64MiB", "off")
	slices.Sort(words)
	words = slices.Compact(words)
	for i := range blocks {
		f.Add(uint8(i), []byte{})                                                               //nolint:gosec // a choice among them
		f.Add(uint8(i), []byte{uint8(i), uint8(7 * i), uint8(3 * i), uint8(11 * i), 1, 0, 250}) //nolint:gosec // any
	}
	f.Fuzz(func(t *testing.T, block uint8, edits []byte) {
		line := fields(blocks[int(block)%len(blocks)])
		for ; len(edits) >= 3 && len(line) > 0; edits = edits[3:] {
			at := int(edits[0]) % len(line)
			word := words[(int(edits[1])<<8|int(edits[2]))%len(words)]
			switch edits[1] >> 6 {
			case 0:
				line[at] = word
			case 1:
				line = slices.Insert(line, at, word)
			case 2:
				line = slices.Insert(line, at, "\n", word)
			default:
				line = slices.Delete(line, at, at+1)
			}
		}
		adaptsOrRefuses(t, " "+strings.Join(line, " "))
	})
}

// fields are the words of a block, ends of lines among them.
func fields(block string) (all []string) {
	for line := range strings.Lines(block) {
		all = append(append(all, strings.Fields(line)...), "\n")
	}
	return all
}

func adaptsOrRefuses(t *testing.T, text string) {
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
