package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLicencesOfAModule(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"LICENSE": "of all\n", "NOTICE.txt": "who", "a/LICENSE": "of  all", "a/b/COPYING": "of b", "SQLITE-LICENSE": "of sqlite",
		"testdata/LICENSE": "no", "license.go": "package no", "licenses/x.txt": "no",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		writeFile(t, dir, name, text)
	}
	var out bytes.Buffer
	require.NoError(t, writeModule(&out, "example.com/m v1.0.0", dir, true))
	_, text, _ := bytes.Cut(out.Bytes(), []byte("=\nexample.com/m v1.0.0\n"))
	require.Equal(t, "\n--- LICENSE\n\nof all\n\n--- NOTICE.txt\n\nwho\n\n--- SQLITE-LICENSE\n\nof sqlite\n\n--- a/b/COPYING\n\nof b\n", string(text))

	err := writeModule(&out, "example.com/none v1.0.0", t.TempDir(), true)
	require.ErrorContains(t, err, "licences of example.com/none v1.0.0: there is none in ")
	require.ErrorIs(t, writeModule(&out, "gone", filepath.Join(dir, "gone"), true), os.ErrNotExist)
}
