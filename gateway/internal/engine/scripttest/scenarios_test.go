package scripttest

import (
	"encoding/json"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// scenario runs the workflow of its name as run "r".
type scenario struct {
	name   string
	as     string // golden file; "": name
	input  string // "": {}
	limit  int64  // maxConcurrency; 0: the default
	drive  func(h *house)
	end    string // status of the run; "": finished
	out    string // JSON of the output; "": not checked
	pushed string // what a stream of run r shows, in order, written by hand
}

func (s scenario) file() string {
	if s.as != "" {
		return s.as
	}
	return s.name
}

// Parts of what streams show.
const (
	shipped   = "pending ship, started ship, finished ship, "
	built     = "pending build, started build, finished build, "
	asked     = "approval.requested gate, waiting_approval gate, "
	opened    = "started gate, finished gate, "
	afterward = "pending after, started after, finished after, "
	done      = "completed finished"
	failed    = "completed failed"
	cancelled = "completed cancelled"
)

func scenarios() []scenario {
	return append(append(append(taskScenarios(), waitScenarios()...), flowScenarios()...), runScenarios()...)
}

func taskScenarios() []scenario {
	return []scenario{
		{name: "task", out: `"ok"`, pushed: shipped + done},
		{name: "retries", end: wire.RunFailed, pushed: "pending boom, started boom, failed boom, retrying boom 2, started boom, failed boom, " +
			"retrying boom 3, started boom, failed boom, " + failed},
		{name: "flaky", out: `"r/maybe/0"`, pushed: "pending maybe, started maybe, failed maybe, retrying maybe 2, started maybe, finished maybe, " + done,
			drive: func(h *house) {
				h.node("maybe", func(n *store.Node) bool { return n.WakeAtMs != 0 })
				h.clock.Advance(500 * time.Millisecond)
			}},
		{name: "permanent", end: wire.RunFailed, pushed: "pending boom, started boom, failed boom, " + failed},
		{name: "tolerated", out: `{"bad":true}`, pushed: "pending bad, started bad, failed bad, pending good, started good, finished good, " + done},
		{name: "skip", pushed: "skipped skipped, pending end, started end, finished end, " + done},
		{name: "timeout", end: wire.RunFailed, pushed: "pending t, started t, failed t, " + failed,
			drive: func(h *house) { h.tickUntil(50*time.Millisecond, wire.RunFailed) }},
		{name: "heartbeat-timeout", end: wire.RunFailed, pushed: "pending t, started t, failed t, " + failed,
			drive: func(h *house) { h.tickUntil(100*time.Millisecond, wire.RunFailed) }},
		{name: "bad-output", end: wire.RunFailed, pushed: "pending t, started t, failed t, " + failed},
		{name: "good-output", pushed: "pending t, started t, finished t, " + done},
		{name: "output", pushed: "pending t, started t, task.output t, task.heartbeat t, token.usage t, task.output t, finished t, " + done},
		{name: "stderr", pushed: "pending t, started t, task.output t, finished t, " + done},
	}
}

func waitScenarios() []scenario {
	yes := func(node, value string) func(h *house) { return func(h *house) { h.decide(node, true, value) } }
	no := func(node string) func(h *house) { return func(h *house) { h.decide(node, false, "") } }
	decided := built + asked + "approval.decided gate, " + opened + afterward + done
	guarded := "approval.requested guarded, waiting_approval guarded, approval.decided guarded, "
	return []scenario{
		{name: "approve", drive: yes("gate", ""), out: `{"approved":true,"decidedBy":"alice"}`, pushed: decided},
		{name: "deny", drive: no("gate"), out: `{"approved":false,"decidedBy":"alice"}`, pushed: decided},
		{name: "deny-fail", drive: no("gate"), end: wire.RunFailed, pushed: built + asked + "approval.decided gate, failed gate, " + failed},
		{name: "select", drive: yes("gate", `{"selected":"b","notes":null}`), out: `{"approved":true,"decidedBy":"alice","selected":"b"}`, pushed: decided},
		{name: "rank", drive: yes("gate", `{"ranked":["b","a"]}`), out: `{"approved":true,"decidedBy":"alice","ranked":["b","a"]}`, pushed: decided},
		{name: "auto-approve", out: `{"approved":true,"decidedBy":"auto"}`, pushed: built + "approval.auto_approved gate, " + opened + afterward + done},
		{name: "approval-timeout", end: wire.RunFailed, pushed: built + asked + "failed gate, " + failed, drive: func(h *house) {
			h.status("r", wire.RunWaitingApproval)
			h.clock.Advance(time.Minute)
		}},
		{name: "needs-approval", drive: yes("guarded", ""), pushed: guarded + "started guarded, finished guarded, " + done},
		{name: "needs-approval-denied", drive: no("guarded"), end: wire.RunFailed, pushed: guarded + "failed guarded, " + failed},
		{name: "signal", out: `{"body":"hello"}`, pushed: afterward + done, drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(engine.Signal{Name: "deploy", CorrelationID: "dep-2"})
			h.signal(engine.Signal{Name: "deploy", CorrelationID: "dep-1", Payload: json.RawMessage(`{"body":"hello"}`)})
		}},
		{name: "signal-by-key", out: `{"n":1}`, pushed: afterward + done, drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(engine.Signal{CorrelationKey: "dep-1", Payload: json.RawMessage(`{"n":1}`)})
		}},
		{name: "signal-before-wait", out: "1", pushed: "approval.requested first, waiting_approval first, approval.decided first, " +
			"started first, finished first, " + afterward + done, drive: func(h *house) {
			h.status("r", wire.RunWaitingApproval)
			h.signal(engine.Signal{Name: "deploy", Payload: json.RawMessage("1")})
			h.signal(engine.Signal{Name: "deploy", Payload: json.RawMessage("2")})
			h.decide("first", true, "")
		}},
		{name: "signal-timeout", end: wire.RunFailed, pushed: "failed wait, " + failed, drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.clock.Advance(time.Hour)
		}},
		{name: "signal-schema", end: wire.RunFailed, pushed: "failed wait, " + failed, drive: func(h *house) {
			h.status("r", wire.RunWaitingEvent)
			h.signal(engine.Signal{Name: "deploy", Payload: json.RawMessage("1")})
		}},
		{name: "timer", out: "3000", pushed: "waiting_timer cool, finished cool, " + afterward + done, drive: func(h *house) {
			h.status("r", wire.RunWaitingTimer)
			h.clock.Advance(3 * time.Second)
		}},
	}
}

func flowScenarios() []scenario {
	two := func(h *house) { // p2 ends first
		require.ElementsMatch(h.t, []string{"p1", "p2"}, []string{outside.held(), outside.held()})
		for _, id := range []string{"p2", "p1", "p3"} {
			outside.release(id)
			h.node(id, func(n *store.Node) bool { return n.State == wire.NodeFinished })
			if id == "p2" {
				require.Equal(h.t, "p3", outside.held())
			}
		}
	}
	rest := "started p1, started p2, finished p2, "
	return []scenario{
		{name: "parallel", out: `["0","1","2"]`, pushed: "pending p0, started p0, finished p0, pending p1, started p1, finished p1, " +
			"pending p2, started p2, finished p2, " + done},
		{name: "parallel-two", drive: two, out: `{"p1":"released","p2":"released","p3":"released"}`,
			pushed: "pending p1, pending p2, " + rest + "pending p3, started p3, finished p1, finished p3, " + done},
		{name: "parallel-all", as: "parallel-limit", limit: 2, drive: two,
			pushed: "pending p1, pending p2, pending p3, " + rest + "started p3, finished p1, finished p3, " + done},
		{name: "parallel-failure", end: wire.RunFailed, pushed: "waiting_timer sleepy, approval.requested nobody, waiting_approval nobody, " +
			"pending boom, started boom, failed boom, cancelled sleepy, cancelled nothing, cancelled nobody, " + failed},
		{name: "leftovers", out: `"survived"`, pushed: "waiting_timer sleepy, pending boom, started boom, failed boom, cancelled sleepy, " + done},
		{name: "race", out: `"quick"`, pushed: "pending quick, waiting_timer slow, started quick, finished quick, cancelled slow, " + done},
		{name: "loop", out: "3", pushed: "pending step, started step, finished step, pending step#1, started step#1, finished step#1, " +
			"pending step#2, started step#2, finished step#2, " + done},
		{name: "loop-in-parallel", out: `{"a":1,"b":1}`, pushed: "pending a, started a, finished a, pending a#1, started a#1, finished a#1, " +
			"pending b, started b, finished b, pending b#1, started b#1, finished b#1, " + done},
		{name: "branch", input: `{"flag":true}`, pushed: "pending yes, started yes, finished yes, skipped skipped, pending end, started end, finished end, " + done},
		{name: "branch", as: "branch-else", input: `{"flag":false}`, pushed: "pending no, started no, finished no, " +
			"pending skipped, started skipped, finished skipped, pending end, started end, finished end, " + done},
		{name: "duplicate", end: wire.RunFailed, pushed: "pending a, started a, finished a, " + failed},
		{name: "workflow-throws", end: wire.RunFailed, pushed: failed},
		{name: "stalled", end: wire.RunFailed, pushed: failed},
	}
}

func runScenarios() []scenario {
	sub := "pending sub, started sub, finished sub, "
	return []scenario{
		{name: "child", out: `{"text":"hi"}`, pushed: sub + afterward + done},
		{name: "child-failure", end: wire.RunFailed, pushed: "pending sub, started sub, failed sub, " + failed},
		{name: "child-unknown", end: wire.RunFailed, pushed: "pending sub, failed sub, " + failed},
		{name: "continue", end: wire.RunContinued, pushed: "pending batch, started batch, finished batch, " + done},
		{name: "memory", out: `{"first":false,"second":42}`, pushed: done},
		{name: "cancel-running", end: wire.RunCancelled, pushed: "pending one, pending sub, started sub, started one, cancelled one, cancelled sub, " + cancelled,
			drive: func(h *house) {
				outside.held()
				outside.held()
				_, err := h.e.Cancel(bg, "r", engine.Actor{UserID: "u"})
				require.NoError(h.t, err)
			}},
		{name: "deny-fail", as: "cancel-parked", end: wire.RunCancelled, pushed: built + asked + "cancelled gate, " + cancelled, drive: func(h *house) {
			h.status("r", wire.RunWaitingApproval)
			_, err := h.e.Cancel(bg, "r", engine.Actor{})
			require.NoError(h.t, err)
		}},
		{name: "slow", as: "pause-resume", pushed: "pending one, started one, finished one, pending two, started two, finished two, " + done, drive: pauseAndResume},
		{name: "slow", as: "interrupted", end: wire.RunFailed, pushed: "pending one, started one, retrying one 2, started one, retrying one 3, started one, failed one, " + failed, drive: func(h *house) {
			for _, end := range []func(){h.crash, h.close, h.crash} { // close is a drain
				outside.held()
				end()
				h.open()
			}
		}},
		{name: "everything", input: `{"again":true}`, end: wire.RunContinued, drive: playEverything, pushed: "pending first, started first, " +
			"task.output first, task.heartbeat first, token.usage first, finished first, " +
			"pending flaky, started flaky, failed flaky, retrying flaky 2, started flaky, finished flaky, pending bad, started bad, failed bad, skipped skipped, " +
			"pending step, started step, finished step, pending step#1, started step#1, finished step#1, pending echo, started echo, finished echo, " +
			"waiting_timer sleepy, pending wins, started wins, failed wins, cancelled sleepy, waiting_timer nap, finished nap, " +
			asked + "approval.decided gate, " + opened + "approval.requested guarded, waiting_approval guarded, approval.decided guarded, " +
			"started guarded, finished guarded, " + done},
	}
}

func pauseAndResume(h *house) {
	outside.held()
	_, err := h.e.Pause(bg, "r", engine.Actor{})
	require.NoError(h.t, err)
	outside.release("")
	h.status("r", wire.RunPaused)
	h.until("memory is empty", func(*store.View) bool { return h.e.Stats().Live == 0 })
	_, err = h.e.Resume(bg, "r", engine.Actor{})
	require.NoError(h.t, err)
}

// playEverything does what the workflow of that name and its successor wait for.
func playEverything(h *house) {
	playOnce(h, "r")
	next := h.status("r", wire.RunContinued).ContinuedTo
	playOnce(h, next)
	require.JSONEq(h.t, `{"by":"alice","trace":["first","flaky","bad","skipped","step","step","echo","race","nap","gate","go","guarded"]}`,
		string(h.status(next, wire.RunFinished).Output))
}

func playOnce(h *house, id string) {
	alice := engine.Actor{UserID: "alice"}
	h.status(id, wire.RunWaitingTimer)
	h.clock.Advance(2 * time.Second)
	h.status(id, wire.RunWaitingApproval)
	require.NoError(h.t, h.e.Decide(bg, engine.Decision{RunID: id, NodeID: "gate", Approved: true, By: alice}))
	h.status(id, wire.RunWaitingEvent)
	_, err := h.e.Signal(bg, engine.Signal{RunID: id, Name: "go", CorrelationID: "x"})
	require.NoError(h.t, err)
	h.status(id, wire.RunWaitingApproval)
	require.NoError(h.t, h.e.Decide(bg, engine.Decision{RunID: id, NodeID: "guarded", Approved: true, By: alice}))
}
