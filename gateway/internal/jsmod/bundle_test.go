package jsmod

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func build(t testing.TB, h *Host, path, root string) (*Bundle, error) {
	t.Helper()
	return h.Build(context.Background(), path, BuildOptions{Root: root})
}

func TestModuleKinds(t *testing.T) {
	h := testHost(t, HostOptions{})
	tests := map[string][]string{
		"default function":   {"w.mjs", `export default (g) => { g.register('w', () => 1); }`},
		"default object":     {"w.mjs", `export default { register(g) { g.register('w', () => 1); } };`},
		"CommonJS":           {"w.js", `exports.register = (g) => { g.register('w', () => require('./n.json').n); };`, "n.json", `{"n":1}`},
		"module.exports":     {"w.js", `module.exports = (g) => { g.register('w', () => 1); };`},
		"async register":     {"w.mjs", `export async function register(g) { await null; g.register('w', async () => 1); }`},
		"top-level await":    {"w.mjs", `const n = await Promise.resolve(1); export const register = (g) => g.register('w', async () => n);`},
		"await in an import": {"w.mjs", `import { n } from './n.mjs'; export const register = (g) => g.register('w', async () => n);`, "n.mjs", `export const n = await new Promise((r) => queueMicrotask(() => r(1)));`},
		"TypeScript":         {"w.ts", `import { one, type N } from './n'; enum E { A = 1 } export function register(g: any): void { g.register('w', async (): Promise<N> => one * E.A as N); }`, "n.ts", `export type N = number; export const one: N = 1;`},
		"TSX":                {"w.tsx", `const h = (tag: string, props: object | null, ...children: unknown[]) => ({ tag, children }); /** @jsx h */ export function register(g: any) { g.register('w', () => (<a>{1}</a> as any).children[0]); }`, "tsconfig.json", `{"compilerOptions":{"jsx":"react","jsxFactory":"h"}}`},
		"hashbang and meta":  {"w.mjs", "#!/usr/bin/env node\nexport function register(g) { g.register('w', () => import.meta.url === 'file:///w.mjs' ? 1 : import.meta.url); }"},
		"dynamic import":     {"w.mjs", `export function register(g) { g.register('w', async () => (await import('./n.mjs')).n); }`, "n.mjs", `export const n = 1;`},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, load(t, h, files...), "w")
			d.run()
			require.Equal(t, 1.0, d.result())
		})
	}
}

func TestPackages(t *testing.T) {
	h := testHost(t, HostOptions{})
	b, err := build(t, h, "testdata/packages/gateway.ts", "")
	require.NoError(t, err)
	m, err := h.Load(context.Background(), *b)
	require.NoError(t, err)
	d := newDriver(t, m, "w")
	d.run()
	require.Equal(t, map[string]any{"esm": "esm:2", "cjs": "cjs:2", "scoped": "browserless", "sub": "sub"}, d.result())
}

// TestZod bundles and runs the real package. It needs a folder with zod in its
// node_modules, named by SMITHERS_TEST_ZOD, or npm to install it. Without either it is
// skipped, unless CI=1 says that it has to run.
func TestZod(t *testing.T) {
	dir := os.Getenv("SMITHERS_TEST_ZOD")
	if dir == "" {
		dir = t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o644))
		cmd := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "zod@4")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			if os.Getenv("CI") == "1" {
				t.Fatalf("zod cannot be installed: %v\n%s", err, out)
			}
			t.Skipf("zod cannot be installed (set SMITHERS_TEST_ZOD to a folder that has it): %v", err)
		}
	}
	path := filepath.Join(dir, "zod-workflow.mjs")
	require.NoError(t, os.WriteFile(path, []byte(`import { z } from 'zod';
		const Order = z.object({ id: z.string().min(2), count: z.number().int().positive(), when: z.coerce.date().optional() });
		export function register(g) { g.register('w', async (ctx) => {
			const good = await ctx.task('good', () => Order.parse({ id: 'ab', count: 2 }));
			const bad = Order.safeParse({ id: 'a', count: -1 });
			const later = await z.string().refine(async (s) => s === 'x').parseAsync('x');
			return { good, issues: bad.error.issues.length, later };
		}); }`), 0o644))
	h := testHost(t, HostOptions{})
	b, err := build(t, h, path, dir)
	require.NoError(t, err)
	m, err := h.Load(context.Background(), *b)
	require.NoError(t, err)
	d := newDriver(t, m, "w")
	d.run()
	require.Equal(t, map[string]any{"good": map[string]any{"id": "ab", "count": 2.0}, "issues": 2.0, "later": "x"}, d.result())
	t.Logf("bundle with zod: %d bytes", len(b.Source))
}

func TestBuildErrors(t *testing.T) {
	h := testHost(t, HostOptions{})
	tests := map[string]struct {
		files []string
		is    error
		want  []string
	}{
		"syntax":         {[]string{"w.mjs", "export function register(g) {\n  g.register('w', async () => { const = 1; });\n}"}, nil, []string{"w.mjs:2:39", `Expected identifier but found "="`}},
		"type script":    {[]string{"w.ts", "let x: = 1"}, nil, []string{"w.ts:1:8"}},
		"missing file":   {[]string{"w.mjs", "import './gone.mjs'"}, nil, []string{"w.mjs:1:8", `Could not resolve "./gone.mjs"`}},
		"no package":     {[]string{"w.mjs", "import x from 'nope'; x"}, nil, []string{`Could not resolve "nope"`}},
		"builtin":        {[]string{"w.mjs", "import './lib/a.mjs'", "lib/a.mjs", "import fs from 'node:fs'; fs"}, ErrBuiltin, []string{`"node:fs" is built into Node.js`, "imported by w.mjs -> lib/a.mjs -> node:fs", "lib/a.mjs:1:16"}},
		"bare builtin":   {[]string{"w.mjs", "import { join } from 'path'; join"}, ErrBuiltin, []string{`"path" is built into Node.js`}},
		"in a package":   {[]string{"w.mjs", "import 'dep'", "package.json", "{}", "node_modules/dep/package.json", `{"main":"i.js"}`, "node_modules/dep/i.js", "require('child_process')"}, ErrBuiltin, []string{"w.mjs -> node_modules/dep/i.js -> child_process"}},
		"smithers":       {[]string{"w.mjs", "import { Workflow } from 'smithers-orchestrator'; Workflow"}, ErrSmithersModule, []string{"smithers-orchestrator", "set runtime to smithers or auto", "w.mjs -> smithers-orchestrator"}},
		"smithers jsx":   {[]string{"w.tsx", "/** @jsxImportSource smithers-orchestrator */\nexport default () => <a/>;", "tsconfig.json", `{"compilerOptions":{"jsx":"react-jsx"}}`}, ErrSmithersModule, nil},
		"URL":            {[]string{"w.mjs", "import 'https://example.com/x.js'"}, nil, []string{"is a URL; install the package"}},
		"outside":        {[]string{"app/w.mjs", "import '../secret.mjs'", "app/package.json", "{}", "secret.mjs", "1"}, ErrOutsideRoot, []string{`"../secret.mjs" leads to secret.mjs, outside of the module root app`}},
		"unknown loader": {[]string{"w.mjs", "import './x.wasm'", "x.wasm", "x"}, nil, []string{"x.wasm"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := build(t, h, writeModule(t, test.files...), "")
			var be *BuildError
			require.ErrorAs(t, err, &be)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
	_, err := build(t, h, filepath.Join(t.TempDir(), "gone.mjs"), "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = build(t, h, t.TempDir(), "")
	require.ErrorContains(t, err, "is a folder")
}

func TestSymlinksOutOfTheRootAreRefused(t *testing.T) {
	h := testHost(t, HostOptions{})
	dir := filepath.Dir(writeModule(t, "secret.mjs", "export const s = 1;", "app/package.json", "{}", "app/w.mjs", "import { s } from './link.mjs'; s"))
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret.mjs"), filepath.Join(dir, "app", "link.mjs")))
	_, err := build(t, h, filepath.Join(dir, "app", "w.mjs"), "")
	require.ErrorIs(t, err, ErrOutsideRoot)
	_, err = build(t, h, filepath.Join(dir, "app", "w.mjs"), dir)
	require.NoError(t, err, "a wider root allows it")
	_, err = build(t, h, filepath.Join(dir, "secret.mjs"), filepath.Join(dir, "app"))
	require.ErrorIs(t, err, ErrOutsideRoot, "the module itself has to be inside")
}

func TestFindRoot(t *testing.T) {
	dir := filepath.Dir(writeModule(t, "package.json", "{}", "a/b/w.mjs", "", "a/yarn.lock", "", "lone/w.mjs", ""))
	dir, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	for path, want := range map[string]string{"a/b/w.mjs": filepath.Join(dir, "a"), "lone/w.mjs": dir} {
		got, err := FindRoot(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestBundlesAreDeterministic(t *testing.T) {
	h := testHost(t, HostOptions{})
	files := []string{"w.mjs", `import { n } from './n.mjs'; export const register = (g) => g.register('w', async () => n);`, "n.mjs", `export const n = 1;`}
	a, err := build(t, h, writeModule(t, files...), "")
	require.NoError(t, err)
	b, err := build(t, h, writeModule(t, files...), "")
	require.NoError(t, err)
	require.Equal(t, a.Hash, b.Hash, "the folder does not matter")
	require.Equal(t, string(a.SourceMap), string(b.SourceMap))
	require.NotContains(t, string(a.Source)+string(a.SourceMap), os.TempDir())
	files[3] = `export const n = 2;`
	c, err := build(t, h, writeModule(t, files...), "")
	require.NoError(t, err)
	require.NotEqual(t, a.Hash, c.Hash)
}

func TestRegisterErrorsNameThePlace(t *testing.T) {
	h := testHost(t, HostOptions{})
	tests := map[string]struct {
		files       []string
		place, want string
	}{
		"throws in register": {[]string{"gateway.ts", "import { check } from './lib/check';\ntype X = number;\n\nexport function register(g: unknown) {\n  check(g as X);\n}\n", "lib/check.ts", "interface I { a: string }\n\nexport function check(x: unknown): I {\n  throw new RangeError(`no ${typeof x}`);\n}\n"}, "lib/check.ts:4:", "RangeError: no object"},
		"throws at top":      {[]string{"w.mjs", "const a = 1;\nnull.foo;\nexport default () => a;"}, "w.mjs:2:", "TypeError: cannot read property 'foo' of null"},
		"rejects":            {[]string{"w.mjs", "export async function register() {\n  await null;\n  throw new Error('later');\n}"}, "w.mjs:3:", "Error: later"},
		"top-level await":    {[]string{"w.mjs", "await null;\n\nthrow new Error('after await');\nexport default 1;"}, "w.mjs:3:", "after await"},
		"no export":          {[]string{"w.mjs", "export const x = 1;"}, "", "the module must export a function register(gateway), or a default function"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tryLoad(t, h, test.files...)
			var re *RegisterError
			require.True(t, errors.As(err, &re), "%v", err)
			require.Contains(t, re.Place, test.place)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := tryLoad(t, h, "w.mjs", "export const register = () => new Promise(() => {});")
	require.ErrorIs(t, err, ErrNeverRegistered)
	m, err := tryLoad(t, h, "w.mjs", "export const register = () => {};")
	require.NoError(t, err)
	require.Equal(t, []string{"the module registers no workflows"}, m.Warnings)
}

func TestStacksNameTheUsersFiles(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "gateway.ts", "import { fail } from './steps/fail';\n\nexport default (g: any) => g.register('w', async (ctx: any) => {\n  await ctx.sleep('s', 1);\n  return await fail(ctx);\n});\n",
		"steps/fail.ts", "type Context = { task: any };\n\nexport async function fail(ctx: Context): Promise<never> {\n  return ctx.task('boom', async () => {\n    await null;\n    throw new Error('deep');\n  });\n}\n")
	d := newDriver(t, m, "w")
	d.run()
	f := d.failure()
	require.Contains(t, f.Stack, "steps/fail.ts:6:")
	require.NotContains(t, f.Stack, "native")
}

func TestRegistrationOptions(t *testing.T) {
	h := testHost(t, HostOptions{Env: map[string]string{"HOOK_SECRET": "s3cret"}})
	m := load(t, h, "w.mjs", `export function register(g) {
		g.register('b', () => 1, { schedule: '0 8 * * 1-5', webhook: { secret: process.env.HOOK_SECRET, signatureHeader: 'x-sig', signaturePrefix: '', signal: { name: 'go', correlationIdPath: 'a.b' }, run: { enabled: false, inputPath: 'x' } }, system: true, readableName: 'B', description: 'does b' });
		g.register('a', () => 1, { webhook: { secret: process.env.NOT_SET } });
	}`)
	require.Len(t, m.Workflows, 2)
	require.Equal(t, "a", m.Workflows[0].Key)
	require.Empty(t, m.Workflows[0].Webhook.Secret)
	b := m.Workflows[1]
	require.Equal(t, "0 8 * * 1-5", b.Schedule)
	require.True(t, b.System)
	require.Equal(t, "B", b.ReadableName)
	require.Equal(t, "s3cret", b.Webhook.Secret)
	require.Equal(t, "", *b.Webhook.SignaturePrefix)
	require.Equal(t, &WebhookSignal{Name: "go", CorrelationIDPath: "a.b"}, b.Webhook.Signal)
	require.False(t, *b.Webhook.Run.Enabled)
}
