package load

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// maxCuts is after how many cut attempts a task may be given up.
const maxCuts = 3

type nodeKey struct {
	run, node string
	iteration int
}

type attemptKey struct {
	nodeKey
	attempt int
}

// told is what an event said under its number.
type told struct {
	event, payload string
	stateVersion   int64
}

// judge goes once through the ledger in the order in which things were seen.
type judge struct {
	violations []string

	meanings map[string]map[int64]told // run, seq
	versions map[int64]string          // stateVersion: the event that has it
	last     map[string]int64          // follower and run: number of the last event
	ended    map[string]string         // run: status of run.completed
	over     map[string]bool           // follower and run: it was told of the end
	finished map[nodeKey]int           // attempt that finished, once a client saw it
	tasks    map[nodeKey]int           // how often a body ran
	attempts map[attemptKey]int
	decided  map[string]bool // run: what approval.decided said
	kills    int             // of the gateway
	lived    map[string]int  // run: kills until its result was read

	launches map[string]string
	acks     map[string][]rig.Entry
}

// Judge lists what the ledger proves the gateway did wrong. Gaps are wrong unless the
// database was restored.
func Judge(entries []rig.Entry) []string {
	j := &judge{
		meanings: map[string]map[int64]told{}, versions: map[int64]string{}, last: map[string]int64{}, ended: map[string]string{}, over: map[string]bool{},
		finished: map[nodeKey]int{}, tasks: map[nodeKey]int{}, attempts: map[attemptKey]int{}, decided: map[string]bool{}, lived: map[string]int{},
		launches: map[string]string{}, acks: map[string][]rig.Entry{},
	}
	for _, e := range entries {
		switch e.Kind {
		case rig.EntryTask:
			j.task(e)
		case rig.EntryEvent:
			j.event(e)
		case rig.EntryGap:
			j.wrong("%s: %s was told of a gap up to %d", e.Run, e.Follower, e.Seq)
		case rig.EntryKill:
			j.kills++
		case rig.EntryAck:
			switch e.Method {
			case ackLaunch:
				j.launches[e.Run] = e.Value
			case ackResult:
				j.lived[e.Run] = j.kills
			}
			j.acks[e.Run] = append(j.acks[e.Run], e)
		}
	}
	for run, workflow := range j.launches {
		j.outcome(run, workflow)
	}
	slices.Sort(j.violations)
	return j.violations
}

func (j *judge) wrong(format string, args ...any) {
	j.violations = append(j.violations, fmt.Sprintf(format, args...))
}

// task: a body that runs after its end was seen, or twice under one number.
func (j *judge) task(e rig.Entry) {
	key := nodeKey{e.Run, e.Node, e.Iteration}
	if attempt, ok := j.finished[key]; ok && e.Attempt > attempt {
		j.wrong("%s: task %s/%d ran again (attempt %d) after attempt %d was seen to finish", e.Run, e.Node, e.Iteration, e.Attempt, attempt)
	}
	j.tasks[key]++
	attempt := attemptKey{key, e.Attempt}
	if j.attempts[attempt]++; j.attempts[attempt] > 1 {
		j.wrong("%s: attempt %d of %s/%d ran twice", e.Run, e.Attempt, e.Node, e.Iteration)
	}
}

func (j *judge) event(e rig.Entry) {
	j.number(e)
	key := nodeKey{e.Run, e.Node, e.Iteration}
	switch e.Event {
	case "node.finished":
		if attempt, ok := j.finished[key]; ok && attempt != e.Attempt {
			j.wrong("%s: %s/%d finished in attempt %d and in attempt %d", e.Run, e.Node, e.Iteration, attempt, e.Attempt)
		}
		j.finished[key] = e.Attempt
	case "approval.decided":
		var p struct{ Approved bool }
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			j.wrong("%s: %s: %v", e.Run, e.Event, err)
		}
		if before, ok := j.decided[e.Run]; ok && before != p.Approved {
			j.wrong("%s: decided %t and %t", e.Run, before, p.Approved)
		}
		j.decided[e.Run] = p.Approved
	case "run.completed":
		var p struct{ Status string }
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			j.wrong("%s: %s: %v", e.Run, e.Event, err)
		}
		j.ended[e.Run] = p.Status
	}
}

// number: one meaning for each, no hole and no repetition on a stream.
func (j *judge) number(e rig.Entry) {
	stream := e.Follower + " " + e.Run
	if e.Seq != j.last[stream]+1 {
		j.wrong("%s: %s got event %d after %d", e.Run, e.Follower, e.Seq, j.last[stream])
	}
	j.last[stream] = e.Seq
	if j.over[stream] {
		j.wrong("%s: event %d (%s) came after run.completed", e.Run, e.Seq, e.Event)
	}
	j.over[stream] = e.Event == "run.completed"
	if j.meanings[e.Run] == nil {
		j.meanings[e.Run] = map[int64]told{}
	}
	now := told{e.Event, string(e.Payload), e.StateVersion}
	if before, ok := j.meanings[e.Run][e.Seq]; ok && before != now {
		j.wrong("%s: number %d means %+v and %+v", e.Run, e.Seq, before, now)
	}
	j.meanings[e.Run][e.Seq] = now
	if earlier, ok := j.meanings[e.Run][e.Seq-1]; ok && earlier.stateVersion >= e.StateVersion {
		j.wrong("%s: stateVersion falls from %d to %d at %d", e.Run, earlier.stateVersion, e.StateVersion, e.Seq)
	}
	name := fmt.Sprintf("%s %d", e.Run, e.Seq)
	if other, ok := j.versions[e.StateVersion]; ok && other != name {
		j.wrong("stateVersion %d belongs to %s and to %s", e.StateVersion, other, name)
	}
	j.versions[e.StateVersion] = name
}

// outcome: what was acknowledged has happened, once.
func (j *judge) outcome(run, workflow string) {
	status, ok := j.ended[run]
	if !ok {
		j.wrong("%s (%s): acknowledged, but its end was never seen", run, workflow)
		return
	}
	var result, output string
	for _, a := range j.acks[run] {
		if a.Method == ackResult {
			result, output = a.Value, string(a.Payload)
		}
	}
	switch {
	case strings.HasSuffix(result, interrupted):
		j.interrupted(run)
		return
	case !strings.HasPrefix(result, status):
		j.wrong("%s (%s): run.completed says %s, getRun %q", run, workflow, status, result)
	}
	want := "finished"
	if workflow == "endless" {
		want = "cancelled"
	}
	if status != want {
		j.wrong("%s (%s): ended %q, not %s", run, workflow, result, want)
		return
	}
	j.acknowledged(run, workflow, output)
	for key, attempt := range j.finished {
		if key.run == run && isTask(key.node) && j.attempts[attemptKey{key, attempt}] == 0 {
			j.wrong("%s: attempt %d of %s/%d finished without having run", run, attempt, key.node, key.iteration)
		}
	}
}

func (j *judge) acknowledged(run, workflow, output string) {
	var out struct {
		Approved bool
		Value    string
	}
	if workflow != "endless" {
		if err := json.Unmarshal([]byte(output), &out); err != nil {
			j.wrong("%s: output %q: %v", run, output, err)
		}
	}
	decisions := 0
	for _, a := range j.acks[run] {
		switch a.Method {
		case ackDecide:
			decisions++
			if fmt.Sprint(j.decided[run]) != a.Value || fmt.Sprint(out.Approved) != a.Value {
				j.wrong("%s: approved=%s was acknowledged, but the log says %t and the result %t", run, a.Value, j.decided[run], out.Approved)
			}
		case ackSignal:
			if out.Value != a.Value {
				j.wrong("%s: the signal %q was acknowledged, but the run got %q", run, a.Value, out.Value)
			}
		}
	}
	if decisions > 1 {
		j.wrong("%s: %d decisions of one gate were acknowledged", run, decisions)
	}
	if workflow == "gated" {
		shipped, refused := j.tasks[nodeKey{run, "shipped", 0}], j.tasks[nodeKey{run, "refused", 0}]
		if (shipped > 0) != out.Approved || (refused > 0) == out.Approved {
			j.wrong("%s: approved=%t, yet shipped ran %d times and refused %d times", run, out.Approved, shipped, refused)
		}
	}
}

// interrupted: a task may be given up only after it really was cut that often. An
// attempt that is cut before its body reports is not in the ledger; the kill is.
func (j *judge) interrupted(run string) {
	if j.lived[run] >= maxCuts {
		return
	}
	for key, n := range j.tasks {
		if (key.run == run || strings.HasPrefix(key.run, run+":")) && n >= maxCuts {
			return
		}
	}
	j.wrong("%s: a task was given up as interrupted without having been cut %d times", run, maxCuts)
}

// isTask tells tasks of the module from its other nodes.
func isTask(node string) bool {
	switch node {
	case "gate", "go", "nap", "leaf":
		return false
	}
	return !strings.HasPrefix(node, "rest-")
}
