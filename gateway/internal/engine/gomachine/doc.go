// Package gomachine executes workflows that are compiled into the binary: it makes
// a program.Program of a workflow.Workflow.
//
// The workflow function runs as a coroutine, a goroutine that works only while the
// engine waits for it, and every branch of a Parallel is a further one. At most
// one of them runs at any moment and the next is picked in the order in which they
// became ready, so a replay takes the same steps. Task bodies run in goroutines of
// their own, outside this scheme.
package gomachine
