package caddymodule

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterDirective("smithers", parseDirective)
	// Before respond, reverse_proxy and file_server, so that these can answer what
	// passthrough lets through; after handle and route.
	httpcaddyfile.RegisterDirectiveOrder("smithers", httpcaddyfile.Before, "respond")
}

// parseDirective sets up a handler and its matcher.
//
// A path as the first argument is a prefix: the gateway is served at the path and
// below, and knows about it. That differs from other directives, where a path
// matches itself only, which is never what anybody wants of a gateway.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	handler := &Handler{Name: fmt.Sprintf("%s:%d", filepath.Base(h.File()), h.Line())}
	var matcher caddy.ModuleMap
	if h.NextArg() {
		switch first := h.Val(); {
		case strings.HasPrefix(first, "/"):
			prefix, err := pathPrefix(first)
			if err != nil {
				return nil, h.Err(err.Error())
			}
			handler.Prefix = prefix
		case first == "*" || strings.HasPrefix(first, "@"):
			h.Prev()
			set, _, err := h.MatcherToken()
			if err != nil {
				return nil, err
			}
			matcher = set
		default:
			return nil, h.Errf("smithers: %q is neither a path prefix (/...) nor a matcher (@name); settings belong in a block { }", first)
		}
	}
	if h.NextArg() {
		return nil, h.Errf("smithers: unexpected %q; settings belong in a block { }", h.Val())
	}
	if err := handler.unmarshalBlock(h.Dispenser); err != nil {
		return nil, err
	}
	if matcher == nil && handler.Prefix != "" {
		matcher = caddy.ModuleMap{
			"path": h.JSON(caddyhttp.MatchPath{handler.Prefix, handler.Prefix + "/*"}),
		}
	}
	return h.NewRoute(matcher, handler), nil
}

// UnmarshalCaddyfile reads the smithers directive:
//
//	smithers [<path-prefix> | <matcher>] {
//	    # one gateway: all sites with the same db_path must agree on these
//	    db_path                  <file>          # SMITHERS_DB_PATH, /data/smithers.db
//	    token_store              <file>          # SMITHERS_TOKEN_STORE, /data/tokens.json
//	    module                   <file>          # SMITHERS_GATEWAY_MODULE, /workspace/gateway.mjs
//	    module_root              <folder>        # imports may not leave it
//	    runtime                  auto|script|smithers # SMITHERS_GATEWAY_RUNTIME, auto: smithers if the module imports it
//	    runtime_command          <program>       # SMITHERS_GATEWAY_RUNTIME_COMMAND, Bun in the module's node_modules or on PATH
//	    runtime_memory           <size>          # a Smithers process that uses more is restarted; no limit
//	    runtime_start_limit      <duration>      # 1m
//	    workspace_root           <folder>        # shown as identity.workspaceRoot
//	    workflow                 <guest> { ... } # a module of namespace smithers.workflows
//	    env                      <variable>...   # what workflows may read of the environment
//	    exec                     <program>...    # what workflows may run
//	    fetch_allow              <host>...       # what fetch may reach; also networks, public, none; any
//	    auth                     <mode> { ... }  # token, none, jwt or trusted_proxy; see below
//	    upstream                 <url> { ... }   # a Smithers gateway elsewhere; see below
//	    heartbeat                <duration>      # SMITHERS_GATEWAY_HEARTBEAT_MS, 15s
//	    event_window             <events>        # SMITHERS_GATEWAY_EVENT_WINDOW, 10000
//	    request_timeout          <duration>      # SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS, 60s
//	    write_timeout            <duration>      # 10s
//	    auth_deadline            <duration>      # 10s
//	    drain_time               <duration>      # 10s
//	    max_connections          <number>        # 20000
//	    max_pre_auth             <number>        # 1024
//	    max_pre_auth_per_address <number>        # 64
//	    streams_per_connection   <number>        # 8
//	    streams_per_user         <number>        # 1024
//	    max_stream_lag           <events>        # 100000, or the window if that is larger
//	    max_stream_lag_bytes     <size>          # 64MiB
//	    ring_bytes               <size>          # 256MiB
//	    max_event_bytes          <size>          # 256KiB
//	    max_run_events           <events>        # 1000000, then the run fails
//	    max_queued_runs          <number>        # 10000 of one user, ten times as many in all
//	    max_auth_failures        <number>        # 60 a minute, of one client address
//	    max_vms                  <number>        # 256
//	    vm_memory                <size>          # 64MiB
//	    vm_memory_total          <size>          # 2GiB
//	    vm_time                  <duration>      # 10s
//	    max_abandoned_vms        <number>        # 8
//	    durability               full|normal     # full
//	    checkpoint               auto|external   # auto
//	    work_trees               record|off      # record
//	    adopt                                    # after restoring by other means
//	    run_retention            <duration>      # never
//	    audit_retention          <duration>      # never
//
//	    # this site
//	    prefix           <path>
//	    origins          <origin>...  # any
//	    max_body         <size>       # 1MiB
//	    public_metrics   [on|off]     # on over plain HTTP or on loopback, else off
//	    public_workflows [on|off]     # likewise
//	    passthrough                   # hand unknown paths to the next handler
//	}
//
// The workflows and runs of a Smithers gateway elsewhere become this gateway's with
//
//	upstream http://host:port | https://host | unix//path/of/socket {
//	    token <secret>  # else callers are named in x-user-id, x-user-scopes, x-user-role
//	}
//
// The modes of auth are
//
//	auth token                      # by the token store; the default
//	auth none {
//	    trust_any_host              # else Host and Origin must be loopback
//	}
//	auth jwt {
//	    issuer         <iss>
//	    audience       <aud>...     # a token must name one
//	    secret         <text>       # HS256, 32 bytes or more; or
//	    jwks           <file|url>   # RS256 and ES256
//	    algorithms     <name>...    # fewer than the key allows
//	    skew           <duration>   # 60s
//	    scopes_claim   <name>       # scope
//	    role_claim     <name>       # role
//	    user_claim     <name>       # sub
//	    default_role   <role>       # operator
//	    default_scopes <scope>...   # none
//	}
//	auth trusted_proxy {            # only from the server's trusted_proxies
//	    user_header    <name>       # x-user-id
//	    scopes_header  <name>       # x-user-scopes
//	    role_header    <name>       # x-user-role
//	    default_role   <role>       # operator
//	    default_scopes <scope>...   # without them, requests without scopes are refused
//	}
//
// A setting given here beats the environment variable, which beats the default.
// Durations are like 500ms, 15s or 2h; sizes like 1048576, 512KiB or 64MiB.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.Next() {
		return d.ArgErr()
	}
	if d.NextArg() {
		prefix, err := pathPrefix(d.Val())
		if err != nil {
			return d.Err(err.Error())
		}
		h.Prefix = prefix
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return h.unmarshalBlock(d)
}

// unmarshalBlock reads the settings, each at most once unless it is a list.
func (h *Handler) unmarshalBlock(d *caddyfile.Dispenser) error {
	seen := make(map[string]int)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		s, ok := subdirectives[word]
		if !ok {
			return d.Err(unknownWord(word))
		}
		if line, twice := seen[word]; twice && !s.repeats {
			return d.Errf("%s is set twice; first on line %d", word, line)
		}
		seen[word] = d.Line()
		if err := s.read(d, h, word); err != nil {
			return err
		}
	}
	return nil
}

// pathPrefix accepts /gw, /gw/ and /gw/*, which all mean the same here.
func pathPrefix(text string) (string, error) {
	prefix := strings.TrimRight(strings.TrimSuffix(text, "*"), "/")
	switch {
	case !strings.HasPrefix(text, "/"):
		return "", fmt.Errorf("path prefix %q does not begin with a slash", text)
	case strings.ContainsAny(prefix, "*?#"):
		return "", fmt.Errorf("path prefix %q may not contain * ? or #; for anything else use a named matcher", text)
	}
	return prefix, nil
}

// Interface guards.
var _ caddyfile.Unmarshaler = (*Handler)(nil)
