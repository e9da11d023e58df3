package jsmod

import (
	"slices"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/processors"
)

// poolIdle is how long VMs are kept ready after the last run started.
const poolIdle = time.Minute

// fillAfter is how long making VMs ready waits behind a run that found none. That run's own
// VM is being made, and its first steps are near: they get the processors first.
const fillAfter = 50 * time.Millisecond

// maxSaved bounds the VMs of a module that can be reset, since the copy of its memory
// makes each of them twice as large.
const maxSaved = 64

// pool keeps VMs with the module loaded for the next runs. A module may keep state in
// its variables, so a VM goes back to what it was after loading before it serves
// another run; one that failed is thrown away.
type pool struct {
	module *Module
	size   int // of VMs made ready ahead

	mu      sync.Mutex
	ready   []*VM
	lent    []*VM // those that can come back, the longest lent first
	filling bool
	closed  bool
	idle    *time.Timer
	later   *time.Timer    // of the next filling
	wg      sync.WaitGroup // a token while filling
}

func newPool(m *Module) *pool {
	return &pool{module: m, size: 2 * processors.Number()}
}

// take returns a ready VM, or nil when there is none; some are made soon then. alone says
// that this begins it: nobody else has asked in vain lately, and there is memory for them.
func (p *pool) take() (vm *VM, alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.ready); n > 0 {
		vm = p.ready[n-1]
		p.ready = p.ready[:n-1]
		p.lend(vm)
	} else if !p.filling && !p.closed {
		p.filling, alone = true, p.affords()
		p.wg.Add(1)
		p.later = time.AfterFunc(fillAfter, p.fill)
	}
	if p.idle == nil {
		p.idle = time.AfterFunc(poolIdle, p.drop)
	} else {
		p.idle.Reset(poolIdle)
	}
	return vm, alone
}

// adopt makes a VM that was booted for a run one that can come back. It must not have
// run anything yet.
func (p *pool) adopt(vm *VM) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && vm.save() == nil {
		p.lend(vm)
	}
}

// lend notes who has a VM.
func (p *pool) lend(vm *VM) {
	p.lent = append(p.lent, vm)
	p.trim()
}

// trim takes their copies from the VMs that have been away for longest when too many
// could come back: their runs are long ones.
func (p *pool) trim() {
	for len(p.lent) > 1 && len(p.lent)+len(p.ready) > maxSaved {
		p.lent[0].unsave()
		p.lent = slices.Delete(p.lent, 0, 1)
	}
}

// give takes a VM back whose run has ended, and reports whether it wanted it.
func (p *pool) give(vm *VM) bool {
	p.mu.Lock()
	i := slices.Index(p.lent, vm)
	if i >= 0 {
		p.lent = slices.Delete(p.lent, i, i+1)
	}
	wanted := i >= 0 && !p.closed
	p.mu.Unlock()
	if !wanted || !vm.resettable() || vm.reset() != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.ready) >= maxSaved || !p.module.host.memory.fits() { // others wait for memory
		return false
	}
	p.ready = append(p.ready, vm)
	if len(p.ready) == 1 { // it may have been dropped meanwhile
		p.idle.Reset(poolIdle)
	}
	return true
}

// affords reports whether there is memory for VMs that nobody has asked for yet.
func (p *pool) affords() bool {
	memory := &p.module.host.memory
	return memory.used.Load()+4*minimumVM <= memory.total
}

// fill makes VMs ready, and the host's spare one if this run has taken it.
func (p *pool) fill() {
	defer p.wg.Done()
	p.fillReady()
	if p.affords() {
		p.module.host.renewSpare()
	}
}

func (p *pool) fillReady() {
	for {
		p.mu.Lock()
		room := !p.closed && len(p.ready) < p.size
		if !room || !p.affords() {
			p.filling = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		vm, err := p.module.fresh()
		if err == nil {
			err = vm.save()
		}
		p.mu.Lock()
		if err != nil || p.closed || len(p.ready) >= maxSaved {
			p.filling = false
			p.mu.Unlock()
			if vm != nil {
				vm.close()
			}
			return
		}
		p.ready = append(p.ready, vm)
		p.trim()
		p.mu.Unlock()
	}
}

// drop frees what nobody asked for lately.
func (p *pool) drop() {
	p.mu.Lock()
	ready := p.ready
	p.ready = nil
	p.mu.Unlock()
	for _, vm := range ready {
		vm.close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.idle != nil {
		p.idle.Stop()
	}
	if p.later != nil && p.later.Stop() {
		p.filling = false
		p.wg.Done()
	}
	p.mu.Unlock()
	p.wg.Wait()
	p.drop()
}
