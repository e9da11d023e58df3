package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway"
)

// readUpstream reads upstream <url> { token <secret> }.
func readUpstream(d *caddyfile.Dispenser, h *Handler, word string) error {
	if !d.NextArg() {
		return d.Errf("%s: a URL is missing: http://host:port, https://host or unix//path/of/socket", word)
	}
	url := d.Val()
	if !isPlaceholder(url) {
		if err := gateway.CheckUpstream(url); err != nil {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.Errf("%s: unexpected %q after %q; one upstream can be named", word, d.Val(), url)
	}
	h.Upstream = &url
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		setting := d.Val()
		if setting != "token" {
			return d.Errf("%s: unknown setting %q; allowed is token", word, setting)
		}
		token, err := one(d, word+": "+setting)
		if err != nil {
			return err
		}
		if token == "" {
			return d.Errf("%s: %s: the value is empty", word, setting)
		}
		h.UpstreamToken = &token
	}
	return nil
}
