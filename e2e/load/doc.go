// Package load drives a gateway with many clients that expect it to vanish at any
// moment, and judges afterwards what it did. The judge reads the ledger only.
package load

import _ "embed"

// Module is the text of the workflow module that the fleet drives.
//
//go:embed gateway.mjs
var Module string
