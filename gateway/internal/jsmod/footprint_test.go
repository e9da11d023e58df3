package jsmod

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// A run that waits in a task costs its VM: 5,000 of them must fit into 400 KiB each,
// with what the engine keeps of them in Go.
func TestWaitingRunIsSmall(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`await ctx.task('t', () => new Promise((done) => setTimeout(done, 60_000)));`))
	machine, err := m.Workflows[0].New(context.Background(), program.Env{Post: func(any) {}})
	require.NoError(t, err)
	defer machine.Close()
	turn, err := machine.Start(program.Input{RunID: "r", Workflow: "w", Input: []byte("{}")})
	require.NoError(t, err)
	_, err = machine.Attempt(program.Attempt{Ref: turn.Ops[0].(program.Request).Ref, Number: 1})
	require.NoError(t, err)
	vm := vmOf(machine)
	vm.unsave() // as happens when many are away
	require.Less(t, vm.js.Footprint(), int64(360<<10))
}

func vmOf(m program.Machine) *VM { return m.(*machine).vm }
