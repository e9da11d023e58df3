package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlaceOfAFailure(t *testing.T) {
	o := Options{Module: "/w/app/gateway.tsx"}
	script := "/tmp/" + folderPrefix + "1-2/" + scriptName
	for want, r := range map[string]report{
		"gateway.tsx:2:11: Unexpected ;": {Stage: "module", Name: "BuildMessage", Message: "Unexpected ;", File: "/w/app/gateway.tsx", Line: 2, Column: 11},
		"lib/x.ts:3:4: RangeError: no": {Stage: "register", Name: "RangeError", Message: "no",
			Stack: "RangeError: no\n    at new Y (/w/app/node_modules/y/i.js:1:1)\n    at f (/w/app/lib/x.ts:3:4)\n    at start (" + script + ":1:1)"},
		"node_modules/y/i.js:1:1: no": {Stage: "register", Name: "Error", Message: "no",
			Stack: "Error: no\n    at /w/app/node_modules/y/i.js:1:1\n    at start (" + script + ":1:1)"},
		"/w/app/gateway.tsx: no place": {Stage: "register", Message: "no place"},
	} {
		err := r.failure(o)
		require.ErrorIs(t, err, ErrModule)
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, report{Stage: "resolve", Code: "NO_PACKAGE"}.failure(o), ErrNoPackage)
	require.ErrorContains(t, report{Stage: "resolve", Code: "NO_PACKAGE"}.failure(o), "npm install smithers-orchestrator")
}

func TestReportsAmongNoise(t *testing.T) {
	var got []string
	text := "noise\n{}\n{\"type\":\"ready\"}\n[1]\n{\"type\":\"busy\",\"runs\":2}\n" + strings.Repeat("x", maxReport+1) + "\n{\"type\":\"lost\"}\n"
	readReports(strings.NewReader(text), func(r report) { got = append(got, r.Type) })
	require.Equal(t, []string{"ready", "busy"}, got)
}

func FuzzReports(f *testing.F) {
	f.Add(`{"type":"failed","stage":"module","stack":"Error\n at (/x:1:2)"}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		readReports(strings.NewReader(text), func(r report) {
			require.Error(t, r.failure(Options{Module: "/w/m.mjs"}))
		})
	})
}

func TestWhichRuntime(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "a", "b", "gateway.mjs")
	put := func(path string) string {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
		return path
	}
	t.Setenv("PATH", filepath.Join(dir, "path"))

	_, err := findRuntime("", module)
	require.ErrorIs(t, err, ErrNoRuntime)
	for _, part := range []string{filepath.Join(dir, "a", "b", "node_modules", ".bin", "bun"), filepath.Join(dir, "path"), "npm install bun", "runtime_command"} {
		require.ErrorContains(t, err, part)
	}
	_, err = findRuntime("no-such-bun", module)
	require.ErrorIs(t, err, ErrNoRuntime)
	require.ErrorContains(t, err, `runtime_command is "no-such-bun"`)

	platform, err := filepath.Rel(dir, candidates(filepath.Join(dir, "a", "b", "node_modules"))[0])
	require.NoError(t, err)
	for _, place := range []string{"path/bun", "node_modules/.bin/bun", "a/b/node_modules/.bin/bun", platform} { // each comes before the last
		want := put(filepath.Join(dir, filepath.FromSlash(place)))
		got, err := findRuntime("", module)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	other := put(filepath.Join(dir, "other"))
	got, err := findRuntime(other, module)
	require.NoError(t, err)
	require.Equal(t, other, got)
}
