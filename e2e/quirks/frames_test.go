package quirks

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// taskStates are the states of the nodes of a tree.
func taskStates(n object, into map[string]string) map[string]string {
	if task, ok := n["task"].(object); ok {
		into[task["nodeId"].(string)] = task["state"].(string)
	}
	for _, c := range n["children"].([]any) {
		taskStates(c.(object), into)
	}
	return into
}

func TestQ32_DevToolsReplaysFramesAsTheyWere(t *testing.T) {
	p := start(t)
	run := launch(p, "approve", nil, "waiting-approval")
	parked := call[object](p, "getDevToolsSnapshot", object{"runId": run})
	require.Equal(t, map[string]string{"build": "finished", "gate": "waiting-approval"}, taskStates(parked["root"].(object), map[string]string{}),
		"a parked gate has a state")
	decide(p, run, "gate", true)
	p.Status(run, "finished")
	again := call[object](p, "getDevToolsSnapshot", object{"runId": run, "frameNo": parked["frameNo"]})
	require.Equal(t, parked["root"], again["root"], "an old frame shows the states of then")

	// A cursor below 50 begins at frame 1, and every frame follows.
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	s := p.Dial()
	defer s.Cut()
	var opened object
	require.NoError(t, s.Call(ctx, "streamDevTools", object{"runId": run, "fromSeq": 1}, &opened))
	latest := call[object](p, "getDevToolsSnapshot", object{"runId": run})["frameNo"].(float64)
	for frame := 1.0; frame <= latest; {
		f, err := s.Next(ctx)
		require.NoError(t, err, "at frame %v", frame)
		var payload object
		if f.Event != "devtools.event" || json.Unmarshal(f.Payload, &payload) != nil || payload["streamId"] != opened["streamId"] {
			continue
		}
		ev := payload["event"].(object)
		if frame == 1 {
			s := ev["snapshot"].(object)
			require.Equal(t, 1.0, s["frameNo"])
			require.Equal(t, map[string]string{"build": "pending"}, taskStates(s["root"].(object), map[string]string{}))
		} else {
			d := ev["delta"].(object)
			require.Equal(t, frame-1, d["baseSeq"])
			require.Equal(t, frame, d["seq"])
		}
		frame++
	}
	// retryTask goes on counting (the original drops to 0 after a resume).
	call[object](p, "retryTask", object{"runId": run, "nodeId": "after"})
	p.Wait("the second attempt", func() bool {
		root := call[object](p, "getDevToolsSnapshot", object{"runId": run})["root"].(object)
		for _, n := range root["children"].([]any)[0].(object)["children"].([]any) {
			task := n.(object)["task"].(object)
			if task["nodeId"] == "after" && task["attempt"] == 2.0 && task["state"] == "finished" {
				return true
			}
		}
		return false
	})
}
