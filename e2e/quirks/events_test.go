package quirks

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestQ02_RunCompletedOnce(t *testing.T) {
	p := start(t)
	all := p.Dial()
	for _, workflow := range []string{"static", "fail", "tolerant"} {
		id := call[object](p, "launchRun", object{"workflow": workflow})["runId"].(string)
		plainUntil(p, all, id, "run.completed")
		ends := 0
		for _, name := range names(history(p, id)) {
			if name == "run.completed" {
				ends++
			}
		}
		require.Equal(t, 1, ends, workflow)
	}
	// Nothing more came on the socket: the next run's events follow at once.
	id := call[object](p, "launchRun", object{"workflow": "static"})["runId"].(string)
	require.Len(t, plainUntil(p, all, id, "run.completed"), 4)
}

func TestQ03_EachEventOnce(t *testing.T) {
	p := start(t)
	s := p.Dial()
	run := launch(p, "approve", nil, "waiting-approval")
	decide(p, run, "gate", true)
	seen := map[string]int{}
	for _, e := range plainUntil(p, s, run, "run.completed") {
		seen[e.String()]++
	}
	for name, n := range seen {
		require.Equal(t, 1, n, name)
	}
	events := history(p, run)
	require.Len(t, seen, len(events))
	for i, e := range events {
		require.EqualValues(t, i+1, e.Seq)
	}
}

func TestQ04_LateSubscriptionReplays(t *testing.T) {
	p := start(t)
	run := launch(p, "many", object{"count": 15}, "finished")
	events := history(p, run)
	require.Len(t, events, 15*3+1)
	s := p.Dial()
	for _, after := range []int64{5, 44} {
		late := follow(p, s, run, after, completed)
		require.Equal(t, after+1, late[0].Seq)
		require.Len(t, late, len(events)-int(after))
	}
	var opened client.StreamOpened
	require.NoError(t, s.Call(t.Context(), "streamRunEvents", object{"runId": run, "afterSeq": 46}, &opened), "the last number is a cursor as well")
	require.EqualValues(t, 46, opened.CurrentSeq)
}

func TestQ05_DecisionsAndCancellationsArePushed(t *testing.T) {
	p := start(t)
	s := p.Dial()
	run := launch(p, "approve", nil, "waiting-approval")
	decide(p, run, "gate", true)
	require.Contains(t, names(plainUntil(p, s, run, "run.completed")), "approval.decided gate")

	parked := launch(p, "approve", nil, "waiting-approval")
	plainUntil(p, s, parked, "node.waiting_approval")
	call[object](p, "cancelRun", object{"runId": parked})
	require.Contains(t, names(plainUntil(p, s, parked, "run.completed")), "node.cancelled gate")

	running := call[object](p, "launchRun", forever)["runId"].(string)
	plainUntil(p, s, running, "node.started")
	call[object](p, "cancelRun", object{"runId": running})
	require.Contains(t, names(plainUntil(p, s, running, "run.completed")), "node.cancelled one")
}

func TestQ06_NumbersSurviveARestart(t *testing.T) {
	p := start(t)
	run := launch(p, "approve", nil, "waiting-approval")
	before := call[object](p, "health", nil)["stateVersion"].(float64)
	p.Kill()
	p = again(p)
	require.GreaterOrEqual(t, call[object](p, "health", nil)["stateVersion"].(float64), before)
	decide(p, run, "gate", true)
	events := follow(p, p.Dial(), run, 5, completed)
	require.EqualValues(t, 6, events[0].Seq)
	require.Equal(t, "approval.decided gate", events[0].String())
}

func TestQ07_NoFloodAtBoot(t *testing.T) {
	p := start(t)
	for range 5 {
		launch(p, "static", nil, "finished")
	}
	parked := launch(p, "approve", nil, "waiting-approval")
	version := call[object](p, "health", nil)["stateVersion"]
	p.Kill()
	p = again(p)
	s := p.Dial()
	require.Equal(t, version, call[object](p, "health", nil)["stateVersion"])
	run := call[object](p, "launchRun", object{"workflow": "static"})["runId"].(string)
	events := plainUntil(p, s, run, "run.completed")
	require.Equal(t, ofRun(events, run), events, "nothing of the runs before")
	require.Equal(t, "waiting-approval", p.Status(parked, "waiting-approval").Status)
}

func TestQ08_LaunchingNarrowsNothing(t *testing.T) {
	p := start(t)
	s := p.Dial()
	other := call[object](p, "launchRun", object{"workflow": "many", "input": object{"count": 8, "ms": 50}})["runId"].(string)
	var own object
	require.NoError(t, s.Call(t.Context(), "launchRun", object{"workflow": "static"}, &own))
	ended := func(run string) func(event) bool {
		return func(e event) bool { return e.RunID == run && completed(e) }
	}
	events := plainUntil(p, s, other, "run.completed")
	if mine := own["runId"].(string); !slices.ContainsFunc(events, ended(mine)) { // whichever is quicker
		plainUntil(p, s, mine, "run.completed")
	}
	require.Len(t, ofRun(events, other), 8*3+1, "all of a run that somebody else launched")

	// A filter that was asked for does grow, and an explicit stream passes it.
	filtered, err := p.Client.Dial(t.Context(), client.DialOptions{Subscribe: []string{"nothing"}})
	require.NoError(t, err)
	defer filtered.Cut()
	require.NoError(t, filtered.Call(t.Context(), "launchRun", object{"workflow": "static"}, &own))
	plainUntil(p, filtered, own["runId"].(string), "run.completed")
	third := call[object](p, "launchRun", object{"workflow": "many", "input": object{"count": 4, "ms": 30}})["runId"].(string)
	require.Len(t, follow(p, filtered, third, 0, completed), 4*3+1)
}

func TestQ09_EmptyFilterMeansEverything(t *testing.T) {
	p := start(t)
	s, err := p.Client.Dial(t.Context(), client.DialOptions{Subscribe: []string{}})
	require.NoError(t, err)
	defer s.Cut()
	run := call[object](p, "launchRun", object{"workflow": "static"})["runId"].(string)
	require.Len(t, plainUntil(p, s, run, "run.completed"), 4)
	var failure *client.Error
	require.ErrorAs(t, s.Call(t.Context(), "getDevToolsSnapshot", object{"runId": run}, nil), &failure)
	require.Equal(t, "Connection is not subscribed to this runId.", failure.Message)
}

func TestQ10_TheResponseComesFirst(t *testing.T) {
	p := start(t, "SMITHERS_GATEWAY_EVENT_WINDOW=10")
	run := launch(p, "many", object{"count": 15}, "finished")
	raw := dialRaw(t, p)
	raw.connect(p.Token)
	raw.send(object{"type": "req", "id": "s", "method": "streamRunEvents", "params": object{"runId": run, "afterSeq": 1}})
	var order []string
	for len(order) < 3 {
		f := raw.next()
		switch f["event"] {
		case nil:
			order = append(order, "response "+f["id"].(string))
		case "run.gap_resync", "run.event":
			order = append(order, f["event"].(string))
		}
	}
	require.Equal(t, []string{"response s", "run.gap_resync", "run.event"}, order)
}

func TestQ11_NodeEventsNameIterationAndAttempt(t *testing.T) {
	p := start(t)
	for _, workflow := range []string{"loop", "flaky", "approve"} {
		run := call[object](p, "launchRun", object{"workflow": workflow})["runId"].(string)
		if workflow == "approve" {
			p.Status(run, "waiting-approval")
			decide(p, run, "gate", true)
		}
		for _, e := range history(p, run) {
			switch e.Event {
			case "node.started", "node.finished", "node.failed", "node.skipped", "node.cancelled":
				require.Contains(t, e.Fields, "iteration", "%s: %s", workflow, e)
				require.Contains(t, e.Fields, "attempt", "%s: %s", workflow, e)
			}
		}
	}
}

func TestQ12_ADeniedGateThatFailsSaysSo(t *testing.T) {
	p := start(t)
	run := launch(p, "deny-fails", nil, "waiting-approval")
	decide(p, run, "gate", false)
	require.Contains(t, names(history(p, run)), "node.failed gate")
	// The other transitions stay as silent as clients know them: getRun tells.
	waiting := launch(p, "plain-signal", nil, "waiting-event")
	require.Equal(t, "waiting-event", call[object](p, "getRun", object{"runId": waiting})["runState"].(object)["state"])
}

func TestQ13_ContinuedRunsNameTheirSuccessor(t *testing.T) {
	p := start(t)
	run := launch(p, "again", object{"left": 1}, "continued")
	events := history(p, run)
	next, _ := events[len(events)-1].Fields["newRunId"].(string)
	require.NotEmpty(t, next)
	p.Status(next, "finished")
	last := history(p, next)
	require.Equal(t, next, last[len(last)-1].Fields["runId"])
	require.Equal(t, []string{"node.pending last", "node.started last", "node.finished last", "run.completed"}, names(last))
}

func TestQ14_ChildRunsAreHeardAtOnce(t *testing.T) {
	p := start(t)
	s := p.Dial()
	var parent object
	require.NoError(t, s.Call(t.Context(), "launchRun", object{"workflow": "parent"}, &parent))
	run := parent["runId"].(string)
	events := plainUntil(p, s, run, "run.completed")
	child := ofRun(events, run+":child:sub:0")
	require.Equal(t, []string{"node.pending inner", "node.started inner", "node.finished inner", "run.completed"}, names(child))
}

func TestQ16_SystemRunsAreHiddenInEventsToo(t *testing.T) {
	p := start(t)
	s := p.Dial()
	hidden := launch(p, "sys", nil, "finished")
	run := call[object](p, "launchRun", object{"workflow": "static"})["runId"].(string)
	require.Empty(t, ofRun(plainUntil(p, s, run, "run.completed"), hidden))
	require.NotEmpty(t, history(p, hidden), "whoever asks for the run gets it")
}

func TestQ33_NoStacksAndNoPathsOfTheServer(t *testing.T) {
	p := start(t)
	run := launch(p, "fail", nil, "failed")
	attempts := call[[]object](p, "attempts.list", object{"runId": run})
	row := call[object](p, "getRun", object{"runId": run})
	for _, v := range []any{history(p, run), attempts, row} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.NotContains(t, string(b), `stack`)
		require.NotContains(t, string(b), p.Site.Dir)
		if home, err := os.UserHomeDir(); err == nil && home != "/" {
			require.NotContains(t, string(b), strings.TrimSuffix(home, "/")+"/")
		}
	}
}
