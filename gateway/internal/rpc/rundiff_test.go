package rpc

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestRunsDiff(t *testing.T) {
	node := func(id string, iteration, attempt int, state, output, blocks string) *store.Node {
		n := &store.Node{NodeID: id, Iteration: iteration, Kind: "task", State: state, Attempt: attempt}
		if output != "" {
			n.Output = json.RawMessage(output)
		}
		if blocks != "" {
			n.Blocks = json.RawMessage(blocks)
		}
		return n
	}
	loop := func(n string) string { return `[{"kind":"loop","id":"lp#1","iteration":` + n + `}]` }
	left, err := sideOf(&store.Run{RunID: "l", Input: json.RawMessage(`{"a":1,"b":2}`)}, []*store.Node{
		node("same", 0, 1, wire.NodeFinished, `{"x":1,"y":[2]}`, ""), node("gone", 0, 1, wire.NodeFinished, `7`, ""),
		node("tried", 0, 1, wire.NodeFinished, `{}`, ""), node("step", 0, 1, wire.NodeFinished, `1`, loop("0")),
		{NodeID: "$memory.set:1", Kind: "effect", State: wire.NodeFinished},
	})
	require.NoError(t, err)
	right, err := sideOf(&store.Run{RunID: "r", Input: json.RawMessage(`{"b":2,"a":1}`), WorkTree: &store.WorkTree{Base: "t"}}, []*store.Node{
		node("same", 0, 1, wire.NodeFinished, `{"y":[2],"x":1}`, ""), node("tried", 0, 3, wire.NodeFailed, ``, ""),
		node("step", 0, 1, wire.NodeFinished, `1`, loop("0")), node("step", 1, 1, wire.NodeFinished, `2`, loop("1")),
		node("new", 0, 0, wire.NodePending, ``, `[{"kind":"loop","id":"other","iteration":0}]`),
	})
	require.NoError(t, err)
	d, err := diffRuns(&left, &right)
	require.NoError(t, err)
	text, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, `{"nodesAdded":["step::1","new::0"],"nodesRemoved":["gone::0"],
		"nodesChanged":[{"key":"tried::0","from":{"nodeId":"tried","iteration":0,"state":"finished","lastAttempt":1,"label":null},
			"to":{"nodeId":"tried","iteration":0,"state":"failed","lastAttempt":3,"label":null}}],
		"outputsAdded":[],"outputsRemoved":["gone","tried"],
		"outputsChanged":[{"key":"step","from":[{"runId":"l","nodeId":"step","iteration":0,"value":1}],
			"to":[{"runId":"r","nodeId":"step","iteration":0,"value":1},{"runId":"r","nodeId":"step","iteration":1,"value":2}]}],
		"ralphAdded":["other"],"ralphRemoved":[],"ralphChanged":[{"key":"lp","from":{"iteration":0},"to":{"iteration":1}}],
		"inputChanged":false,"vcsPointerChanged":true}`, string(text))
}
