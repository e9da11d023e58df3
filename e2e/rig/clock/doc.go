// Package clock sets the clock of one process, as somebody who sets that of the whole
// machine would, without changing the binary.
package clock
