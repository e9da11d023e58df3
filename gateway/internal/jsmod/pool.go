package jsmod

import (
	"runtime"
	"sync"
	"time"
)

// poolIdle is how long VMs are kept ready after the last run started.
const poolIdle = time.Minute

// pool keeps a few VMs with the module loaded ready for the next runs. A VM serves
// one run only, since a module may keep state in its variables.
type pool struct {
	module *Module
	size   int

	mu      sync.Mutex
	ready   []*VM
	filling bool
	closed  bool
	idle    *time.Timer
	wg      sync.WaitGroup
}

func newPool(m *Module) *pool {
	return &pool{module: m, size: 2 * runtime.GOMAXPROCS(0)}
}

// take returns a ready VM or nil, and sees to it that the pool is filled again.
func (p *pool) take() *VM {
	p.mu.Lock()
	defer p.mu.Unlock()
	var vm *VM
	if n := len(p.ready); n > 0 {
		vm = p.ready[n-1]
		p.ready = p.ready[:n-1]
	}
	if !p.filling && !p.closed {
		p.filling = true
		p.wg.Add(1)
		go p.fill()
	}
	if p.idle == nil {
		p.idle = time.AfterFunc(poolIdle, p.drop)
	} else {
		p.idle.Reset(poolIdle)
	}
	return vm
}

func (p *pool) fill() {
	defer p.wg.Done()
	for {
		p.mu.Lock()
		room := !p.closed && len(p.ready) < p.size
		memory := &p.module.host.memory
		if !room || memory.used.Load()+4*minimumVM > memory.total {
			p.filling = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		vm, _, err := p.module.boot()
		p.mu.Lock()
		if err != nil || p.closed {
			p.filling = false
			p.mu.Unlock()
			if vm != nil {
				vm.close()
			}
			return
		}
		p.ready = append(p.ready, vm)
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
	p.mu.Unlock()
	p.wg.Wait()
	p.drop()
}
