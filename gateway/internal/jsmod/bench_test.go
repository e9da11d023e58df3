package jsmod

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

const helloModule = `export function register(gateway) {
  gateway.register('w', async (ctx) => {
    const r = await ctx.task('hello', async ({ attempt }) => ({ text: 'hello', attempt }));
    return r.text;
  });
}
`

// BenchmarkVM makes a VM with prelude and module and frees it.
func BenchmarkVM(b *testing.B) {
	h := testHost(b, HostOptions{})
	m := load(b, h, "w.mjs", helloModule)
	defer reportCPU(b)()
	for b.Loop() {
		vm, err := m.fresh()
		if err != nil {
			b.Fatal(err)
		}
		vm.close()
	}
}

// BenchmarkPrelude makes a VM without a module.
func BenchmarkPrelude(b *testing.B) {
	h := testHost(b, HostOptions{})
	defer reportCPU(b)()
	for b.Loop() {
		vm, err := h.newVM()
		if err != nil {
			b.Fatal(err)
		}
		vm.close()
	}
}

func oneTaskRun(b *testing.B, p program.Program, env program.Env) {
	machine, err := p.New(context.Background(), env)
	if err != nil {
		b.Fatal(err)
	}
	defer machine.Close()
	must := func(t program.Turn, err error) program.Turn {
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	ref := must(machine.Start(program.Input{RunID: "r", Workflow: "w", Input: []byte("{}"), Seed: 1, StartedAtMs: 1})).Ops[0].(program.Request).Ref
	end := must(machine.Attempt(program.Attempt{Ref: ref, Number: 1, IdempotencyKey: "k"})).Ops[0].(program.AttemptEnd)
	if must(machine.Settle(program.Settlement{Ref: ref, Value: end.Value, AtMs: 2})).Done == nil {
		b.Fatal("not done")
	}
}

// BenchmarkOneTaskRun is a whole run of one task, without an engine, its VM included.
func BenchmarkOneTaskRun(b *testing.B) {
	h := testHost(b, HostOptions{})
	m := load(b, h, "w.mjs", helloModule)
	env := program.Env{Post: func(any) {}}
	b.Run("one after another", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			oneTaskRun(b, m.Workflows[0].Program, env)
		}
	})
	b.Run("at once", func(b *testing.B) {
		defer reportCPU(b)()
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				oneTaskRun(b, m.Workflows[0].Program, env)
			}
		})
	})
}

// BenchmarkTurn is one settlement of a loop of timers.
func BenchmarkTurn(b *testing.B) {
	h := testHost(b, HostOptions{})
	m := load(b, h, "w.mjs", body(`await ctx.loop('l', { max: 1000000 }, async () => { await ctx.sleep('s', 1); });`))
	machine, err := m.Workflows[0].Program.New(context.Background(), program.Env{Post: func(any) {}})
	if err != nil {
		b.Fatal(err)
	}
	defer machine.Close()
	turn, err := machine.Start(program.Input{RunID: "r", Workflow: "w", Input: []byte("{}"), StartedAtMs: 1})
	defer reportCPU(b)()
	for b.Loop() {
		if err != nil {
			b.Fatal(err)
		}
		turn, err = machine.Settle(program.Settlement{Ref: turn.Ops[0].(program.Request).Ref, AtMs: 1})
	}
}

// bigModule is a module of about the given size in bytes.
func bigModule(size int) string {
	var s strings.Builder
	s.WriteString("const table = {};\n")
	for i := 0; s.Len() < size; i++ {
		fmt.Fprintf(&s, "table['entry%d'] = function entry%d(first, second) {\n  if (first > second) { return { sum: first + second, list: [first, second, %d] }; }\n  return table['entry%d'] ? 'text number %d' : null;\n};\n", i, i, i, i/2, i)
	}
	s.WriteString("export function register(gateway) { gateway.register('w', async (ctx) => Object.keys(table).length); }\n")
	return s.String()
}

// BenchmarkBundleLoad brings a 300 KB module to the end of its registration, from
// source and from bytecode.
func BenchmarkBundleLoad(b *testing.B) {
	h := testHost(b, HostOptions{})
	m := load(b, h, "w.mjs", bigModule(300<<10))
	b.Run("source", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			if _, err := h.compile(string(m.Source)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bytecode", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			vm, err := m.fresh()
			if err != nil {
				b.Fatal(err)
			}
			vm.close()
		}
	})
}
