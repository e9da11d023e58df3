//go:build race

package frames

import "flag"

// Under the race detector a case takes ten times as long; the part without it tries
// them all.
func init() {
	if f := flag.Lookup("rapid.checks"); f != nil {
		_ = f.Value.Set("6")
	}
}
