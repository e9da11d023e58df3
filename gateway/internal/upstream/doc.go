// Package upstream makes the runs of a Smithers gateway that stands behind this one
// (package source: a supervised host process, or a gateway elsewhere) runs of this
// gateway.
//
// Each of its runs has a row in the store and a log with numbers of its own. The
// upstream's durable log is the only source of that log: its socket merely says that
// there is something to read, and a sweep finds what the socket does not tell. Events
// and the position up to which the upstream's log is merged commit in one transaction,
// so that each event is merged once and in order whatever ends in between. Streams,
// windows and gaps are those of package eventlog, which does not know the difference.
//
// What is asked about such a run is forwarded with the identity of the caller, whose
// scopes package rpc has checked before. A launch is stored first and forwarded then,
// and repeated for as long as the upstream does not know the run, so that it is not
// lost with a process that ends right after its answer.
//
// No goroutine belongs to a run: a few workers serve those that have something to
// read.
package upstream
