package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/smithersai/caddy-smithers/gateway"
)

// caddyHeaderTimeout is what Caddy uses when the config says nothing.
const caddyHeaderTimeout = time.Minute

// checkHeaderTimeout refuses to ignore SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS: reading
// headers ends before any handler begins, so only the server can enforce it.
func checkHeaderTimeout(lookup func(string) (string, bool), server *caddyhttp.Server) error {
	want, isSet, err := gateway.HeadersTimeout(lookup)
	if err != nil || !isSet || server == nil {
		return err
	}
	have := time.Duration(server.ReadHeaderTimeout)
	if have == 0 {
		have = caddyHeaderTimeout
	}
	if have == want {
		return nil
	}
	return fmt.Errorf("%s asks for %s but the server reads headers for %s; add to the global options: servers { timeouts { read_header %s } }",
		gateway.EnvHeadersTimeout, want, have, want)
}
