package load

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// story is the ledger of one gated run without fault.
func story() []rig.Entry {
	event := func(follower string, seq int64, name, node, payload string) rig.Entry {
		return rig.Entry{
			Kind: rig.EntryEvent, Follower: follower, Run: "r", Seq: seq, StateVersion: 10 + seq, Event: name, Node: node, Attempt: 1,
			Payload: json.RawMessage(payload),
		}
	}
	events := func(follower string) []rig.Entry {
		return []rig.Entry{
			event(follower, 1, "node.started", "before", `{"a":1}`),
			event(follower, 2, "node.finished", "before", `{"a":2}`),
			event(follower, 3, "approval.decided", "gate", `{"approved":true}`),
			event(follower, 4, "node.finished", "shipped", `{"a":4}`),
			event(follower, 5, "run.completed", "", `{"status":"finished"}`),
		}
	}
	live := events("live")
	task := func(node string) rig.Entry { return rig.Entry{Kind: rig.EntryTask, Run: "r", Node: node, Attempt: 1} }
	ack := func(method, value string) rig.Entry {
		return rig.Entry{Kind: rig.EntryAck, Run: "r", Method: method, Value: value}
	}
	result := ack(ackResult, "finished")
	result.Payload = json.RawMessage(`{"approved":true}`)
	return slices.Concat(
		[]rig.Entry{ack(ackLaunch, "gated"), live[0], task("before"), live[1], ack(ackDecide, "true"), live[2], task("shipped")},
		live[3:], []rig.Entry{result}, events("replay"))
}

func TestJudgeFindsNoFaultInAGoodStory(t *testing.T) { require.Empty(t, Judge(story())) }

func TestJudgeFindsEachFault(t *testing.T) {
	find := func(l []rig.Entry, kind, event, follower string) *rig.Entry {
		for i := range l {
			if l[i].Kind == kind && l[i].Event == event && l[i].Follower == follower {
				return &l[i]
			}
		}
		return nil
	}
	for name, tc := range map[string]struct {
		spoil func(l []rig.Entry) []rig.Entry
		want  string
	}{
		"a lost launch": {func(l []rig.Entry) []rig.Entry {
			return append(l, rig.Entry{Kind: rig.EntryAck, Run: "gone", Method: ackLaunch, Value: "timed"})
		}, "its end was never seen"},
		"a number with two meanings": {func(l []rig.Entry) []rig.Entry {
			find(l, rig.EntryEvent, "node.finished", "replay").Payload = json.RawMessage(`{"a":3}`)
			return l
		}, "number 2 means"},
		"a number with two names": {func(l []rig.Entry) []rig.Entry {
			find(l, rig.EntryEvent, "node.started", "replay").Event = "node.pending"
			return l
		}, "number 1 means"},
		"a hole": {func(l []rig.Entry) []rig.Entry { return slices.Delete(l, 3, 4) }, "got event 3 after 1"},
		"a repetition": {func(l []rig.Entry) []rig.Entry {
			return slices.Insert(l, 4, l[3])
		}, "got event 2 after 2"},
		"a task that ran again": {func(l []rig.Entry) []rig.Entry {
			return slices.Insert(l, 4, rig.Entry{Kind: rig.EntryTask, Run: "r", Node: "before", Attempt: 2})
		}, "ran again"},
		"an attempt that ran twice": {func(l []rig.Entry) []rig.Entry { return slices.Insert(l, 3, l[2]) }, "ran twice"},
		"an end without work":       {func(l []rig.Entry) []rig.Entry { return slices.Delete(l, 2, 3) }, "without having run"},
		"a decision turned round": {func(l []rig.Entry) []rig.Entry {
			for i := range l {
				if l[i].Event == "approval.decided" {
					l[i].Payload = json.RawMessage(`{"approved":false}`)
				}
			}
			return l
		}, "approved=true was acknowledged"},
		"two decisions": {func(l []rig.Entry) []rig.Entry { return slices.Insert(l, 5, l[4]) }, "2 decisions"},
		"an event after the end": {func(l []rig.Entry) []rig.Entry {
			return append(l, rig.Entry{Kind: rig.EntryEvent, Follower: "live", Run: "r", Seq: 6, StateVersion: 99, Event: "node.started"})
		}, "after run.completed"},
		"a wrong end": {func(l []rig.Entry) []rig.Entry {
			for i := range l {
				if l[i].Event == "run.completed" {
					l[i].Payload = json.RawMessage(`{"status":"failed"}`)
				}
			}
			return l
		}, "run.completed says failed"},
		"a stateVersion of two events": {func(l []rig.Entry) []rig.Entry {
			return append(l, rig.Entry{Kind: rig.EntryEvent, Follower: "live", Run: "s", Seq: 1, StateVersion: 11})
		}, "stateVersion 11 belongs to"},
		"a stateVersion that falls": {func(l []rig.Entry) []rig.Entry {
			for i := range l {
				if l[i].Seq == 4 {
					l[i].StateVersion = 5
				}
			}
			return l
		}, "stateVersion falls"},
		"a gap": {func(l []rig.Entry) []rig.Entry {
			return append(l, rig.Entry{Kind: rig.EntryGap, Run: "r", Seq: 7})
		}, "told of a gap"},
		"given up too early": {func(l []rig.Entry) []rig.Entry {
			for i := range l {
				if l[i].Method == ackResult {
					l[i].Value = "failed TASK_INTERRUPTED"
				}
			}
			return l
		}, "without having been cut"},
		"a lost signal": {func(l []rig.Entry) []rig.Entry {
			return append(l, rig.Entry{Kind: rig.EntryAck, Run: "r", Method: ackSignal, Value: "v"})
		}, "the signal"},
	} {
		t.Run(name, func(t *testing.T) {
			var found string
			for _, v := range Judge(tc.spoil(story())) {
				found += v + "\n"
			}
			require.Contains(t, found, tc.want)
		})
	}
}

// A task whose attempts were all cut before their bodies had reported was cut nevertheless.
func TestCutsThatNoBodyReported(t *testing.T) {
	given := func(kills int) []rig.Entry {
		l := []rig.Entry{
			{Kind: rig.EntryAck, Run: "r", Method: ackLaunch, Value: "chain"},
			{Kind: rig.EntryEvent, Run: "r", Follower: "live", Seq: 1, StateVersion: 1, Event: "run.completed", Payload: json.RawMessage(`{"status":"failed"}`)},
		}
		for range kills {
			l = append(l, rig.Entry{Kind: rig.EntryKill})
		}
		return append(l, rig.Entry{Kind: rig.EntryAck, Run: "r", Method: ackResult, Value: "failed TASK_INTERRUPTED"})
	}
	require.Empty(t, Judge(given(3)))
	require.Len(t, Judge(given(2)), 1)
}
