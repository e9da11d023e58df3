// Package modeltest holds the engine against a model that is simple enough to be
// believed: runs as lists of steps, without a database, goroutines or replay.
package modeltest

import (
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// stepKind is what a step of a plan does.
type stepKind string

const (
	stepTask   stepKind = "task"
	stepGate   stepKind = "gate"
	stepSignal stepKind = "signal"
	stepSleep  stepKind = "sleep"
	stepChild  stepKind = "child"
)

// step is one thing that a workflow of the test does; plans are the input of runs.
type step struct {
	Kind    stepKind
	Fails   int    // of a task: how often its body fails before it succeeds; below 0 always
	Retries int    // of a task
	Backoff int64  // of a task, ms before the first retry
	Ms      int64  // of a sleep
	Sub     []step `json:",omitempty"` // of a child
}

func node(i int) string { return fmt.Sprintf("s%d", i) }

// modelRun is a run as the model knows it.
type modelRun struct {
	id     string
	plan   []step
	at     int   // step it is at
	tries  int   // failed attempts of that step
	until  int64 // when it goes on: a sleep or a pause between tries; 0 otherwise
	open   bool  // the step was begun
	paused bool
	status string // "" while it is open, else terminal
	output string

	decided map[string]bool // node: approved
	signals map[string]bool // node whose signal has come
	bodies  map[string]int  // task: least number of body calls
	child   *modelRun
	parent  *modelRun
}

func newModelRun(id string, plan []step, parent *modelRun) *modelRun {
	return &modelRun{
		id: id, plan: plan, parent: parent, decided: map[string]bool{}, signals: map[string]bool{}, bodies: map[string]int{},
	}
}

// model is all runs and the time in ms.
type model struct {
	now  int64
	runs []*modelRun
}

func (m *model) launch(id string, plan []step, parent *modelRun) *modelRun {
	r := newModelRun(id, plan, parent)
	m.runs = append(m.runs, r)
	m.settle(r)
	return r
}

// waits says that a run stands before a gate or waits for a signal.
func (r *modelRun) waits() bool {
	if r.status != "" || r.paused {
		return false
	}
	kind := r.plan[r.at].Kind
	return kind == stepGate || kind == stepSignal
}

// settle moves a run on until it waits.
func (m *model) settle(r *modelRun) {
	for r.status == "" && !r.paused {
		if r.at == len(r.plan) {
			m.end(r, wire.RunFinished, "done")
			return
		}
		if !m.step(r) {
			return
		}
	}
}

// step does what the run is at and reports whether it is over.
func (m *model) step(r *modelRun) bool {
	s, name := r.plan[r.at], node(r.at)
	begun := r.open
	r.open = true
	switch s.Kind {
	case stepTask:
		return m.task(r, s, name)
	case stepGate:
		approved, ok := r.decided[name]
		if ok && !approved {
			m.end(r, wire.RunFinished, "denied "+name)
			return false
		}
		if !ok {
			return false
		}
	case stepSignal:
		if !r.signals[name] {
			return false
		}
	case stepSleep:
		if !begun {
			r.until = m.now + s.Ms
		}
		if m.now < r.until {
			return false
		}
	case stepChild:
		if !begun {
			r.child = m.launch(childID(r.id, name), s.Sub, r)
		}
		switch {
		case r.status != "": // the child took the run with it
			return false
		case r.child.status == "":
			return false
		case r.child.status != wire.RunFinished:
			m.end(r, wire.RunFailed, "")
			return false
		}
	}
	m.next(r)
	return true
}

func (m *model) task(r *modelRun, s step, name string) bool {
	if m.now < r.until {
		return false
	}
	r.bodies[name]++
	if s.Fails >= 0 && r.tries >= s.Fails {
		m.next(r)
		return true
	}
	r.tries++
	if r.tries > s.Retries {
		m.end(r, wire.RunFailed, "")
		return false
	}
	r.until = 0
	if s.Backoff > 0 {
		r.until = m.now + s.Backoff<<(r.tries-1) // it doubles
	}
	return true
}

func (m *model) next(r *modelRun) {
	r.at, r.tries, r.until, r.open = r.at+1, 0, 0, false
	r.child = nil
}

func (m *model) end(r *modelRun, status, output string) {
	r.status, r.output, r.until = status, output, 0
	if p := r.parent; p != nil && p.child == r {
		m.settle(p)
	}
}

func (m *model) cancel(r *modelRun) {
	if r.status != "" {
		return
	}
	if c := r.child; c != nil {
		c.parent = nil // nobody listens any more
		m.cancel(c)
	}
	m.end(r, wire.RunCancelled, "")
}

// retry does the task that a run has failed at again, with all its retries.
func (m *model) retry(r *modelRun) {
	r.status, r.tries, r.until, r.open = "", 0, 0, true
	m.settle(r)
}

// nextDeadline is the earliest moment at which something happens by itself.
func (m *model) nextDeadline() int64 {
	var next int64
	for _, r := range m.runs {
		if r.status == "" && r.until > m.now && (next == 0 || r.until < next) {
			next = r.until
		}
	}
	return next
}

func (m *model) advance(ms int64) {
	m.now += ms
	for _, r := range m.runs {
		m.settle(r)
	}
}

// statuses are what the engine may say of a run: some it only says when the run
// leaves memory.
func (r *modelRun) statuses() []string {
	switch {
	case r.status != "":
		return []string{r.status}
	case r.paused:
		return []string{wire.RunPaused}
	}
	switch r.plan[r.at].Kind {
	case stepGate:
		return []string{wire.RunWaitingApproval}
	case stepSignal:
		return []string{wire.RunWaitingEvent}
	case stepSleep:
		return []string{wire.RunWaitingTimer}
	case stepChild:
		return []string{wire.RunRunning, wire.RunWaitingEvent}
	}
	return []string{wire.RunRunning, wire.RunWaitingTimer} // between two tries
}

func childID(parent, node string) string { return parent + ":child:" + node + ":0" }
