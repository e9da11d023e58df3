// Package ballast makes a start cheaper: it keeps the garbage collector from running where there
// is next to nothing to collect, and the start's memory comes in huge pages. Importing it is all
// there is to do at first; Started ends the second.
//
// The collector begins when the heap has doubled. A start, or a gateway that idles, holds
// a few megabytes, so that it would begin all the time. The ballast counts as live and is
// never written to: it takes no memory of the system, but does count against GOMEMLIMIT.
//
// The package imports next to nothing, so that Go initializes it before nearly all others: what
// those allocate, more than ten megabytes in Caddy, is no longer collected several times
// on the way to main.
package ballast

// Bytes is the size of the ballast.
const Bytes = 16 << 20

var held []byte

func init() {
	start := make([]byte, startBytes) // before the ballast: one collection less
	held = make([]byte, Bytes)
	hugePages(start)
}
