package gomachine

import (
	"fmt"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// parallel is one call of Parallel. The caller waits until every branch that
// started has ended; the first failure cancels the rest of the block.
type parallel struct {
	owner   *coroutine
	scope   *scope
	limit   int
	next    int
	active  int
	waiting bool // the owner has yielded
	err     error
	bodies  []func(ctx workflow.Context) error
}

func (c *runContext) Parallel(limit int, branches ...func(ctx workflow.Context) error) error {
	co := c.current("Parallel")
	if len(branches) == 0 {
		return nil
	}
	if limit <= 0 || limit > len(branches) {
		limit = len(branches)
	}
	if co.scope.isCancelled() {
		return fmt.Errorf("parallel block: %w", workflow.ErrCancelled)
	}
	c.m.blocks++
	p := &parallel{owner: co, limit: limit, bodies: branches, scope: &scope{
		parent: co.scope, iteration: co.scope.iteration,
		block: program.Block{Kind: "parallel", ID: "p" + strconv.Itoa(c.m.blocks), Iteration: co.scope.iteration},
	}}
	p.start(c)
	if p.active > 0 {
		p.waiting = true
		co.wait()
	}
	return p.err
}

// start spawns branches up to the limit.
func (p *parallel) start(c *runContext) {
	for p.active < p.limit && p.next < len(p.bodies) && p.err == nil && !p.scope.isCancelled() {
		i := p.next
		p.next++
		p.active++
		arm := &scope{parent: p.scope, iteration: p.scope.iteration, block: program.Block{
			Kind: "branch", ID: p.scope.block.ID + "." + strconv.Itoa(i), Iteration: p.scope.iteration,
		}}
		var err error
		c.m.spawn(arm, func() { err = p.bodies[i](c) }, func(panicked *program.Failure) {
			if panicked != nil {
				err = &nodeError{failure: panicked}
			}
			p.ended(c, err)
		})
	}
}

// ended runs at the end of a branch, in its coroutine.
func (p *parallel) ended(c *runContext, err error) {
	p.active--
	if err != nil && p.err == nil {
		p.err = err
		if p.active > 0 {
			p.scope.cancelled = true
			c.m.turn.Ops = append(c.m.turn.Ops, program.CancelBlock{BlockID: p.scope.block.ID})
		}
	}
	p.start(c)
	if p.active == 0 && p.waiting {
		if p.err == nil && p.next < len(p.bodies) { // an outer block was cancelled before all had started
			p.err = fmt.Errorf("parallel block: %w", workflow.ErrCancelled)
		}
		p.waiting = false
		c.m.ready = append(c.m.ready, p.owner)
	}
}

// maxLoop bounds a loop without a bound of its own: as many nodes as a run may have.
const maxLoop = 10_000

func (c *runContext) Loop(id string, limit int, body func(ctx workflow.Context, i int) (bool, error)) error {
	co := c.current("Loop")
	if id == "" {
		return errEmptyID
	}
	if limit <= 0 {
		limit = maxLoop
	}
	outer := co.scope
	// Also after a panic that the workflow recovers outside the loop.
	defer func() { co.scope = outer }()
	for i := range limit {
		n := c.m.entries[id]
		c.m.entries[id] = n + 1
		co.scope = &scope{parent: outer, iteration: n, block: program.Block{Kind: "loop", ID: id, Iteration: n}}
		again, err := body(c, i)
		if err != nil {
			return err
		}
		if !again {
			return nil
		}
		if outer.isCancelled() {
			return fmt.Errorf("loop %s: %w", id, workflow.ErrCancelled)
		}
	}
	return nil
}
