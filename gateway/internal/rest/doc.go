// Package rest answers below /v1/api: routes over nouns, each mapped to a method of
// package rpc, with the envelope {"ok","data","seq"} of the protocol. A change is
// answered with the number under which the change stream tells of it.
//
// Scopes, parameters and errors are those of the methods; what is said here is how a
// path, a query and a body become parameters.
package rest
