package caddymodule

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/smithersai/caddy-smithers/gateway"
)

// BinaryName is what the built gateway calls itself in its help. A Caddy that merely
// has this module compiled in keeps its own name.
const BinaryName = "smithers-gateway"

// About is the head of the help of a binary of that name.
const About = `A gateway for durable agent workflows, and a web server: this is Caddy with the
Smithers Gateway compiled in.

First steps:

	smithers-gateway module check gateway.mjs    what a workflow module registers
	smithers-gateway token issue                 a token; without one nobody gets in
	smithers-gateway serve                       one gateway on plain HTTP, set up by variables
	smithers-gateway run --config Caddyfile      any number of sites, with TLS

On a gateway that runs:

	smithers-gateway runs list                   and show, watch, cancel, resume, move
	smithers-gateway call METHOD PARAMS          any method of the protocol
	smithers-gateway health                      exit code 0 if it is ready
	smithers-gateway audit                       who decided, launched and changed what
	smithers-gateway backup FILE                 while it runs; restore while it does not

These read --url (default 127.0.0.1:$PORT) and SMITHERS_API_KEY or --token. The other
commands are Caddy's:
https://caddyserver.com/docs/command-line`

// The name is set when the binary is linked, so it is there before any init.
func init() {
	if caddy.CustomBinaryName == BinaryName {
		NameBinary()
	}
}

// NameBinary makes the help and the version of this process those of the gateway: for
// a main function, before Caddy's own. What was set already is kept.
func NameBinary() {
	caddy.CustomBinaryName = BinaryName
	if caddy.CustomLongDescription == "" {
		caddy.CustomLongDescription = About
	}
	if caddy.CustomVersion == "" {
		caddy.CustomVersion = gateway.Version
	}
}
