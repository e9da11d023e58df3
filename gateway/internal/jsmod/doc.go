// Package jsmod runs workflow modules, written in JavaScript or TypeScript, in an
// embedded engine.
//
// A module is bundled (Build), compiled to bytecode and registered in a VM that serves no
// run with it (Load). Each of its workflows is a program.Program whose machines own one VM
// each. A module may keep state in its variables, so a VM is put back to what it was right
// after loading before it serves another run (package quickjs), which costs a tenth of
// making one; a VM that was stopped or has failed is thrown away. A few VMs per module
// are kept ready, and per host one that has loaded no module yet.
//
// # The prelude
//
// What every VM runs before a module is in js. Its bytecode is checked in (compiled), since
// compiling it was an eighth of the processor time of a start, and is compiled anew only
// where sources or engine are others. After a change of js:
//
//	go test ./gateway/internal/jsmod -run TestPreludeIsCompiled -update
//
// # Turns
//
// A machine works in turns. Go calls one JavaScript function with strings and numbers,
// the engine runs until every promise waits, and what the workflow asked for meanwhile
// is the turn. No value of the engine outlives a turn. Turns run on processors.Number worker
// goroutines; a turn that computes too long is interrupted, and when even that does
// not help, abandoned together with its goroutine.
//
// # Why replay needs no rows for the clock and for random numbers
//
// A turn begun by Start or Settle is a workflow turn: in it fetch, exec and timers are
// refused, the clock shows the journal's time of the settlement that began the turn and
// stands still, and random numbers come from a generator seeded with the run. All three
// are functions of what the journal already holds: the seed and start time of the run,
// and the order and time of the settlements. A replay takes the same turns in the same
// order, so it sees the same times and draws the same numbers. A turn begun by
// Attempt, Abort or Deliver is a task turn: it runs task bodies, which have the real
// clock and real randomness, and whose results are stored. Workflow code that a task
// body wakes by a detour is refused the ctx calls, since a replay, which does not run
// the body again, would not wake it.
//
// Code at the top level of a module and in register runs once per VM, before there is
// a run, and many runs may begin from what it left. It sees the real clock; Math.random
// there is seeded with the bundle's hash.
//
// # Where code is, across await
//
// ctx.task inside a loop body has to know the loop, although it is called on the outer
// ctx. The prelude keeps a current zone, as an ambient variable. The bundler lowers
// async functions, async generators and for await to generators over promises, so that
// every continuation is a callback given to Promise.prototype.then, and the prelude's
// then captures the zone and restores it around the callback. This reaches through npm
// code as well. Code that the module builds with eval or new Function is not lowered:
// after an await of its own it has no zone, and ctx refuses it.
//
// # Trust
//
// Modules are written by the operator's own people. The limits protect the gateway
// and its other runs from mistakes; the prelude takes private copies of everything it
// uses, so that a library that patches built-ins does not break the workflow calls;
// the one host function is not reachable from a module.
package jsmod
