package jsmod

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree writes files into a new folder and returns it, by its real path.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

func TestInspectFindsSmithers(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		chain []string
	}{
		"import":      {map[string]string{"m.mjs": `import { Gateway } from "smithers-orchestrator"; Gateway`}, []string{"m.mjs", "smithers-orchestrator"}},
		"subpath":     {map[string]string{"m.mjs": `import "smithers-orchestrator/tools"`}, []string{"m.mjs", "smithers-orchestrator/tools"}},
		"dynamic":     {map[string]string{"m.mjs": `export default async (g) => { await import("smithers-orchestrator") }`}, []string{"m.mjs", "smithers-orchestrator"}},
		"require":     {map[string]string{"m.cjs": `const s = require("smithers-orchestrator"); module.exports = s`}, []string{"m.cjs", "smithers-orchestrator"}},
		"re-export":   {map[string]string{"m.mjs": `export * from "./a.ts"`, "a.ts": `export { Task } from "smithers-orchestrator"`}, []string{"m.mjs", "a.ts", "smithers-orchestrator"}},
		"jsx pragma":  {map[string]string{"m.tsx": "/** @jsxImportSource smithers-orchestrator */\nexport default () => <a/>"}, []string{"m.tsx", "smithers-orchestrator/jsx-runtime"}},
		"through npm": {map[string]string{"m.mjs": `import "zod"; import fs from "node:fs"; import "./b"; fs`, "b.js": `import "smithers-orchestrator"`}, []string{"m.mjs", "b.js", "smithers-orchestrator"}},
		"broken": {map[string]string{"m.mjs": `import "./gone.mjs"; import "./s.js"; import "smithers-orchestrator"`, "s.js": "const = 1"},
			[]string{"m.mjs", "smithers-orchestrator"}},
		"beside mdx":      {map[string]string{"m.tsx": `import P from "./p.mdx"; import "smithers-orchestrator"; P`, "p.mdx": "# <Hi"}, []string{"m.tsx", "smithers-orchestrator"}},
		"escaped require": {map[string]string{"m.cjs": `\u0072equire("smithers-orchestrator")`}, []string{"m.cjs", "smithers-orchestrator"}},
		"import equals":   {map[string]string{"m.ts": `import s = require("smithers-orchestrator"); s()`}, []string{"m.ts", "smithers-orchestrator"}},
		"jsx settings": {map[string]string{"m.tsx": "export default () => <a/>", "tsconfig.json": `{"compilerOptions":{"jsx":"react-jsx","jsxImportSource":"smithers-orchestrator"}}`},
			[]string{"m.tsx", "smithers-orchestrator/jsx-runtime"}},
		"alone": {map[string]string{"m.mjs": `export function register(gateway) { gateway.register("x", async () => ({})) }`}, nil},

		"types only":   {map[string]string{"m.ts": `import type { Gateway } from "smithers-orchestrator"; export const f = (g: Gateway) => g`}, nil},
		"other":        {map[string]string{"m.mjs": `import "smithers-orchestrator-extras"; import "@smithers-orchestrator/gateway-client"`}, nil},
		"in a string":  {map[string]string{"m.mjs": `export default () => "import 'smithers-orchestrator'"`}, nil},
		"syntax error": {map[string]string{"m.mjs": `import {`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.files["package.json"] = "{}"
			dir := tree(t, c.files)
			var module string
			for _, candidate := range []string{"m.mjs", "m.cjs", "m.ts", "m.tsx"} {
				if _, ok := c.files[candidate]; ok {
					module = candidate
				}
			}
			got, err := Inspect(filepath.Join(dir, module), "")
			require.NoError(t, err)
			require.Equal(t, c.chain, got.Smithers)
			require.Equal(t, dir, got.Root)
			require.Len(t, got.Hash, 64)
		})
	}
}

// A module that imports nothing is not given to esbuild.
func TestOnlyTextsThatMayImportAreFollowed(t *testing.T) {
	may := func(name, text string) bool {
		return mayImport(filepath.Join(tree(t, map[string]string{name: text}), name))
	}
	require.False(t, may("m.mjs", `export default (g) => g.register("x", async () => "\n")`))
	require.False(t, may("m.ts", `export default (g: any) => g.register("x", async () => 1)`))
	for _, text := range []string{`import"x"`, `export*from"x"`, `require("x")`, `\u{72}equire("x")`, `import("x")`} {
		require.True(t, may("m.js", text), text)
	}
	require.True(t, may("m.tsx", ""))
	require.True(t, may("m.svelte", ""))
	require.True(t, mayImport(filepath.Join(t.TempDir(), "m.js")), "it cannot be read")
}

func TestInspectHash(t *testing.T) {
	dir := tree(t, map[string]string{
		"m.tsx": `import "./a.ts"; import "smithers-orchestrator"`, "a.ts": "export {}", "package.json": "{}", "package-lock.json": "{}",
		"other.ts": "", "node_modules/smithers-orchestrator/package.json": `{"version":"1"}`,
	})
	hash := func() string {
		t.Helper()
		got, err := Inspect(filepath.Join(dir, "m.tsx"), "")
		require.NoError(t, err)
		return got.Hash
	}
	before := hash()
	require.Equal(t, before, hash())
	change := func(name string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, filepath.FromSlash(name)), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString("\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	change("other.ts")
	require.Equal(t, before, hash(), "it is not part of the module")
	for _, name := range []string{"m.tsx", "a.ts", "package-lock.json", "node_modules/smithers-orchestrator/package.json"} {
		change(name)
		now := hash()
		require.NotEqual(t, before, now, name)
		before = now
	}
}

func TestInspectRefusals(t *testing.T) {
	_, err := Inspect(filepath.Join(t.TempDir(), "m.mjs"), "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	dir := tree(t, map[string]string{"m.mjs": "", "below/x": ""})
	_, err = Inspect(filepath.Join(dir, "m.mjs"), filepath.Join(dir, "below"))
	require.ErrorIs(t, err, ErrOutsideRoot)
	_, err = Inspect(dir, "")
	require.ErrorContains(t, err, "is a folder")
}
