package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// run is one run in memory. Fields below "goroutine" belong to its goroutine alone.
type run struct {
	e     *Engine
	id    string
	share share
	box   inbox
	out   outbox
	trees treeLog

	ctx    context.Context // ends when the run leaves memory or the engine begins to stop
	cancel context.CancelFunc

	fresh      *store.Run    // row of a run launched a moment ago
	gone       chan struct{} // closed when it has left memory
	begun      bool          // it has had a goroutine; guarded by Engine.mu
	restart    bool          // load it again when it leaves memory; guarded by Engine.mu
	granted    bool          // it holds its slots and has a goroutine; guarded by Engine.mu
	generation int64         // of the journal; set before the first unit

	// goroutine
	log      *zap.Logger
	lines    logBudget
	trace    runTrace
	row      *store.Run // as loaded; only what never changes is read later
	status   string     // as committed
	parent   *parentRef
	def      Definition
	machine  program.Machine
	nodes    map[program.Key]*node
	resets   map[program.Key]*store.Node // of a retry: not asked for again so far
	byRef    map[int64]*node
	open     []*node // unfinished nodes in order of request
	ordinal  int64
	settleQ  []*node
	staged   []step
	pos      int64             // last position this goroutine knows to be committed
	moves    int64             // likewise of unit.moves
	ahead    int64             // nodes whose end the machine knows and no commit does yet
	unclear  int               // steps on their way that may settle a node
	unstored bool              // its launch is not committed yet
	early    []program.LogLine // said until then
	live     int               // attempts in flight
	limit    int               // bound of live
	nextTick int64             // earliest wake registered with the waker; 0 none
	parkAt   Timer
	parkDue  bool
	replayer *replayer // while the journal is replayed
	pausing  bool
	halting  bool // leave memory once no attempt is in flight
	stopping bool
	ending   bool // the last unit is on its way: nothing can follow
	over     bool // leave the loop
	unheard  bool // messages were taken from the inbox and not heard
	unbegun  bool // begin has stopped short because the run is to be paused
}

// newRun makes the actor of a run that is not in memory. e.mu is held.
func (e *Engine) newRun(id string, part share) *run {
	r := e.makeRun(id, part)
	e.runs[id] = r
	return r
}

func (e *Engine) makeRun(id string, part share) *run {
	r := &run{e: e, id: id, share: part, box: newInbox(), gone: make(chan struct{}), log: e.log.With(zap.String("run", id))}
	r.ctx, r.cancel = context.WithCancel(e.ctx)
	r.out.init(r)
	return r
}

// wake makes sure that a run looks at what has happened: key names the node it is
// about, nil all of them.
func (e *Engine) wake(id string, part share, key *program.Key) {
	for {
		e.mu.Lock()
		if _, halted := e.halted[id]; halted || e.stopping || !e.started {
			e.mu.Unlock()
			return // whoever halted it wakes it
		}
		r, ok := e.runs[id]
		if !ok {
			r = e.newRun(id, part)
			e.mu.Unlock()
			e.slots.wait(r)
			return
		}
		e.mu.Unlock()
		if r.box.post(func() { r.look(key) }) {
			return
		}
		// It has just left memory; its entry goes next.
		e.forget(r)
	}
}

// granted starts the goroutine of a run that holds its slots.
func (e *Engine) granted(r *run) {
	e.mu.Lock()
	if _, halted := e.halted[r.id]; halted || e.stopping {
		e.mu.Unlock()
		e.slots.release(r.share)
		e.forget(r)
		return
	}
	r.begun = true
	e.wg.Add(1)
	r.granted = true
	e.mu.Unlock()
	e.live.Add(1)
	go r.main()
}

// withdraw lets go of a run that has been ended while it waits for its slots. False
// means that it waits no more.
func (e *Engine) withdraw(r *run) bool {
	if !e.slots.withdraw(r) {
		return false
	}
	e.mu.Lock()
	if e.runs[r.id] == r {
		delete(e.runs, r.id)
	}
	r.box.close(false)
	again := r.restart || !r.box.empty() // somebody wants something of it
	e.mu.Unlock()
	r.cancel()
	if again {
		e.wake(r.id, r.share, nil)
	}
	return true
}

// forget removes r, and only r, from memory, and reports whether it was there.
func (e *Engine) forget(r *run) (found bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if found = e.runs[r.id] == r; found {
		delete(e.runs, r.id)
	}
	return found
}

func (r *run) main() {
	defer r.leave()
	defer func() {
		if p := recover(); p != nil { // a defect of ours or of a machine must not take the others down
			r.log.Error("panic while executing the run", zap.Any("panic", p), zap.Stack("stack"))
			if !r.unstored { // else it is taken up again once it is stored
				r.pauseBroken(fmt.Errorf("internal error: %v", p))
			}
		}
	}()
	if !r.load() {
		return
	}
	if !r.unstored {
		r.beginTrace()
	}
	r.begin()
	for !r.over {
		msgs := r.box.take()
		if len(msgs) == 0 {
			select {
			case <-r.box.notify:
			case <-r.e.killed:
				return
			}
			continue
		}
		for _, msg := range msgs {
			if r.over {
				r.unheard = true
				return
			}
			msg()
		}
		r.work()
	}
}

// leave is the end of the goroutine.
func (r *run) leave() {
	r.cancel()
	r.endTrace()
	if r.parkAt != nil {
		r.parkAt.Stop()
	}
	r.box.close(false)
	r.out.close()
	drop(r.staged)
	r.e.busy.Add(-int64(r.live))
	if r.machine != nil {
		r.machine.Close()
	}
	r.e.slots.works(r)
	found := r.e.forget(r)
	close(r.gone)
	r.e.slots.release(r.share)
	r.e.live.Add(-1)
	r.e.mu.Lock()
	again := r.restart || r.unheard || !r.box.empty()
	delete(r.e.ahead, r)
	r.e.mu.Unlock()
	if r.unstored {
		again = found // it broke down before it heard that it is stored
	}
	if again { // somebody wanted something of a run that was about to go
		r.e.wake(r.id, r.share, nil)
	}
	r.e.wg.Done()
}

// stage adds a step to the unit that is being put together.
func (r *run) stage(s step) {
	if r.ending || r.over {
		s.end(false)
		return
	}
	if s.ahead {
		r.ahead++
	} else if !s.plain {
		r.unclear++
	}
	r.staged = append(r.staged, s)
}

// stageLast adds the step that ends the run's stay in memory.
func (r *run) stageLast(s step) {
	s.last = true
	r.stage(s)
	r.ending = true
}

// work does all that can be done now.
func (r *run) work() {
	for !r.over && !r.holding() && len(r.settleQ) > 0 {
		n := r.settleQ[0]
		r.settleQ = r.settleQ[1:]
		r.commit() // the ops of the turn before
		turn, err := r.machine.Settle(n.settlement())
		r.take(turn, err)
	}
	if r.over {
		return
	}
	r.startReady()
	r.stageWaiting()
	r.commit()
	r.rest()
}

// commit hands the staged steps to the outbox as one unit.
func (r *run) commit() {
	if len(r.staged) > 0 {
		steps := r.staged
		r.staged = nil
		r.out.add(steps)
	}
}

// holding reports that the workflow function must not move on.
func (r *run) holding() bool { return r.pausing || r.stopping || r.ending || r.halting }

// committed follows a commit.
func (r *run) committed(u *unit) {
	r.pos, r.moves = u.pos, u.moves
	r.status = u.row.Status
	if r.unstored {
		r.isStored()
	}
	for _, s := range u.steps {
		if s.ahead {
			r.ahead--
		} else if !s.plain {
			r.unclear--
		}
		if s.after != nil && !r.over {
			s.after()
		}
	}
	if u.count >= int64(r.e.opts.MaxEvents) {
		r.fail(&program.Failure{Name: "Error", Code: codeEvents, NoRetry: true, Message: fmt.Sprintf(
			"a run may have %d events (max_run_events); log less, or carry on in a fresh one with continueAsNew", r.e.opts.MaxEvents)})
		r.commit()
	}
}

// refused follows a unit that can never be committed: the run was ended by
// somebody else, or the storage does not take what it wants to write.
func (r *run) refused(err error) {
	if err != errFenced { //nolint:errorlint // returned by our own unit, never wrapped
		r.log.Error("a unit of the run was refused", zap.Error(err))
		r.pauseBroken(err)
	}
	r.over = true
}

// heartbeat refreshes the row while the run works.
func (r *run) heartbeat() {
	if r.row == nil || r.ending || r.live == 0 && r.out.idle() {
		return
	}
	r.stage(step{do: func(u *unit) error {
		u.row.HeartbeatAtMs = u.now
		u.dirty = true
		return nil
	}})
}

// look checks whether something that a node waits for has happened.
func (r *run) look(key *program.Key) {
	if r.nodes == nil || r.holding() {
		return
	}
	if key == nil {
		r.checkAll()
		return
	}
	if n := r.nodes[*key]; n != nil {
		r.check(n)
	}
}

// now is the wall clock in epoch milliseconds.
func (r *run) now() int64 { return r.e.nowMs() }

// wakeAt arranges for a tick at a time that the journal knows, too. Call it when the
// journal does: what the waker leaves to the database must be there to be found.
func (r *run) wakeAt(at int64) { r.tickAt(at, false) }

// tickAt arranges for a tick. What only memory knows, the end of an attempt's
// time, must be kept however far away it is.
func (r *run) tickAt(at int64, volatile bool) {
	if at <= 0 || r.nextTick != 0 && r.nextTick <= at {
		return
	}
	if r.e.waker.add(r.id, at, volatile) {
		r.nextTick = at
	}
}

func (r *run) after(d time.Duration, f func()) Timer {
	return r.e.clock.AfterFunc(d, func() { r.box.post(f) })
}

func (r *run) env() program.Env {
	return program.Env{
		Post: func(event any) {
			r.box.post(func() { r.deliver(event) })
		},
		WaitCommits:   r.out.waitCommits,
		HandOver:      r.handOver,
		BeforeProgram: r.beforeProgram,
		Logger:        r.log,
	}
}

func (r *run) deliver(event any) {
	if r.machine == nil || r.ending {
		return
	}
	turn, err := r.machine.Deliver(event)
	r.take(turn, err)
}

func (r *run) input() program.Input {
	var auth program.Auth
	if err := json.Unmarshal(r.row.CreatedBy, &auth); err != nil {
		r.log.Warn("the run's creator cannot be read", zap.Error(err))
	}
	parent := ""
	if r.parent != nil {
		parent = r.parent.RunID
	}
	return program.Input{
		RunID: r.id, ParentRunID: parent, Workflow: r.row.WorkflowKey, Input: r.row.Input,
		Auth: auth, StartedAtMs: r.row.StartedAtMs, Seed: r.row.Seed,
	}
}
