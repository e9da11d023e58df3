// Package rpc holds the methods of the protocol: what each takes, checks, does and
// answers. Sockets, HTTP and REST all enter through Router.Dispatch with a Call, so
// that a method behaves the same on every transport.
//
// Reads go to the store's reader connections, each method in one read transaction.
// Everything that changes a run is a method of the engine, which checks its
// conditions inside the committer.
package rpc
