// Package sse serves the events of one run as server-sent events: the stream of
// streamRunEvents for clients that have HTTP only. It reads the same cursors as the
// sockets, so numbers, gaps and limits are the same.
//
// A stream is the goroutine of its request. It ends when the run has ended and every
// event was sent, when the client leaves or takes no byte for the write timeout,
// when its grant has gone, or when the gateway drains; then it leaves word when to
// come back.
package sse
