// Package gateway is the Smithers Gateway without a web server around it: one
// database with its durable workflow runs, and the HTTP surface through which clients
// launch, watch and steer them. It knows nothing of Caddy; package caddymodule turns
// a Caddy config into Settings and hands requests to Handler.
//
// # From a request to a row
//
// A socket frame or an HTTP request becomes an rpc.Call and enters Router.Dispatch,
// which looks at limits, then at the scope of the caller, then runs the method. Reads
// use a reader connection of the store, each method in one read transaction. Whatever
// changes a run is a method of the engine, which does it as a unit of work of the
// store's committer: one goroutine that runs queued units in order, many of them in
// one transaction, each under its own savepoint. Conditions are checked inside the
// unit, and nobody learns of anything before it is durable.
//
// # From a step to a frame
//
// A run has one goroutine while it works and none while it waits. Its goroutine builds
// events and encodes them once; the committer numbers them, commits them, and only
// then hands them to the event log, which keeps the newest of every run in memory and
// wakes the cursors that wait for them. A stream is such a cursor. The writer of each
// connection takes what is new and sends the shared bytes between a head and a tail of
// its own. Live, replay and catching up are the same loop: memory first, else the
// store. Package wsconn writes frames of sockets, package sse the same events as
// server-sent events.
//
// # Other ways in
//
// Package rest maps the routes below /v1/api to methods of package rpc, and package
// changes tells their clients which collections a commit has changed. A webhook is
// checked by package webhook; a schedule is kept by package cron. What either causes is
// one unit of the engine, together with the row that keeps a repeated delivery or tick
// from counting twice. Package openapi holds the document that describes all of HTTP.
//
// Who calls is settled first: package auth makes a principal of a token of the store, a
// JWT, the headers of a trusted proxy, or none at all on loopback. Sockets and streams
// are checked again whenever grants, mode or time change.
//
// # Workflows
//
// The engine and a workflow function talk in turns (package program): the function
// asks for nodes, the engine settles them one at a time and journals each result, so
// that the same function run again from its beginning takes the same turns. Functions
// are Go (package workflow, compiled in) or JavaScript (package jsmod, an embedded
// engine). Bundles of scripts are stored by hash, and a run stays on the one it was
// launched with until it is moved, which a replay without effects must allow.
//
// # Lifecycle
//
// New opens nothing. Apply puts settings on a short stack whose top is in force, Start
// opens the files, Withdraw takes settings back, Close ends it all behind the last
// request. A reload of the server's config is an Apply of the new owner followed by a
// Withdraw of the old one on the same Gateway: runs, sockets and streams do not notice.
package gateway
