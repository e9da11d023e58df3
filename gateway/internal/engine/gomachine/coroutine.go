package gomachine

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// coroutine is a goroutine that runs only between resume and its next wait.
type coroutine struct {
	m     *machine
	gid   int64
	scope *scope // innermost enclosing block

	wake  chan bool     // true: go on, false: unwind
	yield chan struct{} // the coroutine waits or has ended
	ended bool
	done  func(failure *program.Failure) // called by the coroutine itself when body returned or panicked

	reply program.Settlement // set before the resume that answers a request
}

// spawn creates a coroutine that will run body when it is first scheduled.
func (m *machine) spawn(s *scope, body func(), done func(*program.Failure)) *coroutine {
	co := &coroutine{m: m, scope: s, wake: make(chan bool), yield: make(chan struct{}), done: done}
	m.alive[co] = struct{}{}
	m.ready = append(m.ready, co)
	go co.main(body)
	return co
}

func (co *coroutine) main(body func()) {
	failure := &program.Failure{Name: "Error", Message: "the workflow ended its goroutine with runtime.Goexit"}
	started := false
	// The last act of the goroutine, whatever ended it (return, panic, Goexit of the
	// user's or of an unwinding), is to hand control back.
	defer func() {
		if started && !co.m.closing {
			co.done(failure)
		}
		co.ended = true
		co.yield <- struct{}{}
	}()
	if !<-co.wake {
		return
	}
	started = true
	co.gid = goroutineID()
	failure = contain(body)
}

// contain runs body and turns a panic into a Failure. A Goexit passes through.
func contain(body func()) (failure *program.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = panicFailure(p)
		}
	}()
	body()
	return nil
}

func panicFailure(p any) *program.Failure {
	f := &program.Failure{Name: "Panic", Message: fmt.Sprint(p), Stack: string(debug.Stack())}
	if err, ok := p.(error); ok {
		f.Message = err.Error()
	}
	return f
}

// resume lets co run until it waits or ends. Only the engine's goroutine calls it.
func (co *coroutine) resume() {
	co.wake <- true
	<-co.yield
	if co.ended {
		delete(co.m.alive, co)
	}
}

// wait hands control back until the coroutine is resumed. When the machine is
// closed instead, it never returns: the goroutine unwinds with its deferred calls.
func (co *coroutine) wait() {
	if co.m.closing { // a deferred call of the workflow waits while unwinding
		runtime.Goexit()
	}
	co.yield <- struct{}{}
	if !<-co.wake {
		runtime.Goexit()
	}
}

// unwind ends a coroutine that waits or has not begun.
func (co *coroutine) unwind() {
	co.wake <- false
	<-co.yield
	delete(co.m.alive, co)
}
