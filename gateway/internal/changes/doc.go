// Package changes tells clients which collections to fetch again: the change stream
// of the REST surface, as server-sent events. It is driven by what the store commits,
// so that a change shows whatever asked for it (Q44).
//
// Changes within 50 ms become one frame with one number. Numbers begin at a value
// that grows with the clock, so that a cursor of an earlier process is never taken for
// one of this process: it is too old, and the client is told to fetch everything.
package changes
