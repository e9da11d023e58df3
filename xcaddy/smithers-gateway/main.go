// Command smithers-gateway is Caddy with the Smithers Gateway compiled in: what
// xcaddy builds, as a plain main for go build and debuggers.
package main

import (
	_ "time/tzdata" // cron patterns may name zones where the system knows none

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/smithersai/caddy-smithers/caddymodule"
)

func main() {
	caddymodule.NameBinary()
	caddycmd.Main()
}
