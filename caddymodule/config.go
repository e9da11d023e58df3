package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/smithersai/caddy-smithers/gateway"
)

// Bytes is an amount of memory. In JSON it is a number of bytes or a text such as
// "64MiB".
type Bytes int64

// UnmarshalJSON reads a number or a text with a unit.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		n, err := parseBytes(text)
		*b = n
		return err
	}
	var n int64
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("%s is not an amount of bytes such as 1048576 or \"64MiB\"", data)
	}
	*b = Bytes(n)
	return nil
}

func parseBytes(text string) (Bytes, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<62 {
		return 0, fmt.Errorf("%q is not an amount of bytes such as 1048576, 512KiB or 64MiB", text)
	}
	return Bytes(n), nil
}

// Engine holds the settings that all sites on one database share. A nil field is
// unset.
type Engine struct {
	// Database file. Environment: SMITHERS_DB_PATH.
	DBPath *string `json:"db_path,omitempty"`
	// Token store file. Environment: SMITHERS_TOKEN_STORE.
	TokenStore *string `json:"token_store,omitempty"`
	// Module that registers workflows. Environment: SMITHERS_GATEWAY_MODULE.
	Module *string `json:"module,omitempty"`
	// Folder outside of which the module may import nothing. Default: the nearest
	// ancestor of the module with a lockfile or package.json.
	ModuleRoot *string `json:"module_root,omitempty"`
	// Folder shown as identity.workspaceRoot. Default: the module's folder.
	WorkspaceRoot *string `json:"workspace_root,omitempty"`
	// Names of environment variables that workflows may read.
	Env []string `json:"env,omitempty"`
	// Programs that workflows may run.
	Exec []string `json:"exec,omitempty"`
	// What fetch may reach: names, addresses and networks, each with an optional port,
	// "public" or "none". Default: everything.
	FetchAllow []string `json:"fetch_allow,omitempty"`

	// What runs the module: "auto" (default), "script" or "smithers". Environment:
	// SMITHERS_GATEWAY_RUNTIME.
	Runtime *string `json:"runtime,omitempty"`
	// Path or name of Bun, for modules that import smithers-orchestrator. Default: the
	// one in the module's node_modules, then the one on PATH. Environment:
	// SMITHERS_GATEWAY_RUNTIME_COMMAND.
	RuntimeCommand *string `json:"runtime_command,omitempty"`
	// Memory above which a Smithers process is restarted. Default: no limit.
	RuntimeMemory *Bytes `json:"runtime_memory,omitempty"`
	// Time a Smithers process has to become ready. Default: 1m.
	RuntimeStartLimit *caddy.Duration `json:"runtime_start_limit,omitempty"`
	// A Smithers gateway elsewhere whose workflows are offered too: http://host:port,
	// https://host or unix//path/of/socket. Environment: SMITHERS_GATEWAY_UPSTREAM.
	Upstream *string `json:"upstream,omitempty"`
	// Bearer token for it; without one callers are named in the headers x-user-id,
	// x-user-scopes and x-user-role. Environment: SMITHERS_GATEWAY_UPSTREAM_TOKEN.
	UpstreamToken *string `json:"upstream_token,omitempty"`

	// How callers are known. Default: by the token store.
	Auth *Auth `json:"auth,omitempty"`

	// Time between two tick frames. Environment: SMITHERS_GATEWAY_HEARTBEAT_MS.
	Heartbeat *caddy.Duration `json:"heartbeat,omitempty"`
	// Events of a run from which a stream may start. Environment:
	// SMITHERS_GATEWAY_EVENT_WINDOW.
	EventWindow *int `json:"event_window,omitempty"`
	// Longest time a request may take. Environment: SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS.
	RequestTimeout *caddy.Duration `json:"request_timeout,omitempty"`
	// A reader that accepts no byte for this long is cut off.
	WriteTimeout *caddy.Duration `json:"write_timeout,omitempty"`
	// Time a socket has to authenticate.
	AuthDeadline *caddy.Duration `json:"auth_deadline,omitempty"`
	// Time over which sockets are closed when the process ends.
	DrainTime *caddy.Duration `json:"drain_time,omitempty"`

	MaxConnections    *int   `json:"max_connections,omitempty"`
	MaxPreAuth        *int   `json:"max_pre_auth,omitempty"`
	MaxPreAuthPerAddr *int   `json:"max_pre_auth_per_address,omitempty"`
	StreamsPerConn    *int   `json:"streams_per_connection,omitempty"`
	StreamsPerUser    *int   `json:"streams_per_user,omitempty"`
	MaxStreamLag      *int   `json:"max_stream_lag,omitempty"`
	MaxStreamLagBytes *Bytes `json:"max_stream_lag_bytes,omitempty"`
	// Memory for the event windows of all runs.
	RingBytes     *Bytes `json:"ring_bytes,omitempty"`
	MaxEventBytes *Bytes `json:"max_event_bytes,omitempty"`

	// Durable events of one run.
	MaxRunEvents *int `json:"max_run_events,omitempty"`
	// Runs of one user that wait for a VM; ten times as many may wait in all.
	MaxQueuedRuns *int `json:"max_queued_runs,omitempty"`
	// Failed authentications of one client address a minute.
	MaxAuthFailures *int `json:"max_auth_failures,omitempty"`

	MaxVMs          *int            `json:"max_vms,omitempty"`
	VMMemory        *Bytes          `json:"vm_memory,omitempty"`
	VMMemoryTotal   *Bytes          `json:"vm_memory_total,omitempty"`
	VMTime          *caddy.Duration `json:"vm_time,omitempty"`
	MaxAbandonedVMs *int            `json:"max_abandoned_vms,omitempty"`

	// "full" (default) or "normal".
	Durability *string `json:"durability,omitempty"`
	// "auto" (default) or "external", for Litestream.
	Checkpoint *string `json:"checkpoint,omitempty"`
	// "record" (default) or "off": whether the diffs of git work trees in which programs of
	// tasks run can be had afterwards.
	WorkTrees *string `json:"work_trees,omitempty"`
	// The database was restored by other means: raise all numbers once.
	Adopt bool `json:"adopt,omitempty"`
	// Finished runs older than this are removed. Default: never.
	RunRetention *caddy.Duration `json:"run_retention,omitempty"`
	// Entries of the audit table older than this are removed. Default: never.
	AuditRetention *caddy.Duration `json:"audit_retention,omitempty"`
}

// Site holds the settings of one site.
type Site struct {
	// Path prefix under which the site serves the gateway.
	Prefix string `json:"prefix,omitempty"`
	// Allowed values of Origin. Default: any.
	Origins []string `json:"origins,omitempty"`
	// Largest request body.
	MaxBody *Bytes `json:"max_body,omitempty"`
	// Whether /metrics and /workflows need no token. Default: only over plain HTTP or
	// on a loopback address.
	PublicMetrics   *bool `json:"public_metrics,omitempty"`
	PublicWorkflows *bool `json:"public_workflows,omitempty"`
	// Hand requests that the gateway has no route for to the next handler.
	Passthrough bool `json:"passthrough,omitempty"`
}

// settings lays the fields that are set over the environment over the defaults.
func (e *Engine) settings(lookup func(string) (string, bool), repl *caddy.Replacer) (gateway.Settings, error) {
	s, err := gateway.FromEnviron(lookup, gateway.DefaultSettings())
	if err != nil {
		return s, err
	}
	texts := []struct {
		word string
		from *string
		to   *string
	}{
		{"db_path", e.DBPath, &s.DBPath},
		{"token_store", e.TokenStore, &s.TokenStore},
		{"module", e.Module, &s.Module},
		{"module_root", e.ModuleRoot, &s.ModuleRoot},
		{"workspace_root", e.WorkspaceRoot, &s.WorkspaceRoot},
		{"runtime", e.Runtime, &s.Runtime},
		{"runtime_command", e.RuntimeCommand, &s.RuntimeCommand},
		{"durability", e.Durability, &s.Durability},
		{"checkpoint", e.Checkpoint, &s.Checkpoint},
		{"work_trees", e.WorkTrees, &s.WorkTrees},
		{"upstream", e.Upstream, &s.Upstream},
		{"upstream token", e.UpstreamToken, &s.UpstreamToken},
	}
	for _, t := range texts {
		if t.from == nil {
			continue
		}
		if *t.to, err = expand(repl, t.word, *t.from); err != nil {
			return s, err
		}
	}
	if e.Env != nil {
		if s.Env, err = expandAll(repl, "env", e.Env); err != nil {
			return s, err
		}
	}
	if e.Exec != nil {
		if s.Exec, err = expandAll(repl, "exec", e.Exec); err != nil {
			return s, err
		}
	}
	if e.FetchAllow != nil {
		if s.FetchAllow, err = expandAll(repl, "fetch_allow", e.FetchAllow); err != nil {
			return s, err
		}
	}

	set(&s.EventWindow, e.EventWindow)
	set(&s.MaxConnections, e.MaxConnections)
	set(&s.MaxPreAuth, e.MaxPreAuth)
	set(&s.MaxPreAuthPerAddr, e.MaxPreAuthPerAddr)
	set(&s.StreamsPerConn, e.StreamsPerConn)
	set(&s.StreamsPerUser, e.StreamsPerUser)
	set(&s.MaxStreamLag, e.MaxStreamLag)
	set(&s.MaxRunEvents, e.MaxRunEvents)
	set(&s.MaxQueuedRuns, e.MaxQueuedRuns)
	set(&s.MaxAuthFailures, e.MaxAuthFailures)
	set(&s.MaxVMs, e.MaxVMs)
	set(&s.MaxAbandonedVMs, e.MaxAbandonedVMs)

	setAs(&s.Heartbeat, e.Heartbeat)
	setAs(&s.RequestTimeout, e.RequestTimeout)
	setAs(&s.WriteTimeout, e.WriteTimeout)
	setAs(&s.AuthDeadline, e.AuthDeadline)
	setAs(&s.DrainTime, e.DrainTime)
	setAs(&s.VMTime, e.VMTime)
	setAs(&s.RunRetention, e.RunRetention)
	setAs(&s.RuntimeStartLimit, e.RuntimeStartLimit)
	setAs(&s.AuditRetention, e.AuditRetention)

	setAs(&s.MaxStreamLagBytes, e.MaxStreamLagBytes)
	setAs(&s.RingBytes, e.RingBytes)
	setAs(&s.VMMemory, e.VMMemory)
	setAs(&s.RuntimeMemory, e.RuntimeMemory)
	setAs(&s.VMMemoryTotal, e.VMMemoryTotal)
	setAs(&s.MaxEventBytes, e.MaxEventBytes)
	s.Adopt = s.Adopt || e.Adopt
	return s, e.Auth.apply(&s.Auth, repl)
}

// site resolves placeholders. PublicMetrics and PublicWorkflows are left to the
// caller, as their default depends on the request.
func (s *Site) site(repl *caddy.Replacer) (gateway.Site, error) {
	var out gateway.Site
	prefix, err := expand(repl, "prefix", s.Prefix)
	if err != nil {
		return out, err
	}
	origins, err := expandAll(repl, "origins", s.Origins)
	if err != nil {
		return out, err
	}
	out = gateway.Site{Prefix: strings.TrimRight(prefix, "/"), Origins: origins, Passthrough: s.Passthrough}
	if s.MaxBody != nil {
		if *s.MaxBody < 1 {
			return out, fmt.Errorf("max_body: must be at least 1 byte, not %d", *s.MaxBody)
		}
		out.MaxBody = int64(*s.MaxBody)
	}
	return out, out.Validate()
}

// expand replaces placeholders. One that is unknown or empty is an error: an empty
// path would silently mean another file.
func expand(repl *caddy.Replacer, word, text string) (string, error) {
	out, err := repl.ReplaceOrErr(text, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", word, err)
	}
	return out, nil
}

func expandAll(repl *caddy.Replacer, word string, texts []string) ([]string, error) {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		t, err := expand(repl, word, text)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func setAs[T, F ~int | ~int64](to *T, from *F) {
	if from != nil {
		*to = T(*from)
	}
}
