// Package engine executes workflow runs durably. It knows machines (package
// program) and the store, and nothing of the wire beyond its error codes.
//
// A run in memory is an actor: one goroutine that owns the run's machine and
// works off an inbox. Whatever it decides becomes a step; the steps of a turn are
// committed together as one unit of the store, at most one unit of a run is in
// flight, and what follows from a step (a task body begins, a request is settled)
// happens after its commit. So the database is never behind what anybody saw, and
// the journal's order of settlements is the order the workflow function saw.
//
// Requests from outside (decisions, signals, cancellations) are units of their own
// that check their conditions inside the transaction and wake the run afterwards.
// A run with nothing to do leaves memory and is rebuilt from its journal by replay.
package engine
