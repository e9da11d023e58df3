package gateway

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
)

// MaxEventWindow bounds Settings.EventWindow.
const MaxEventWindow = 10_000_000

// DefaultSettings returns the settings of a gateway about which nothing was said.
func DefaultSettings() Settings {
	return Settings{
		DBPath:            DefaultDBPath,
		TokenStore:        DefaultTokenStore,
		Module:            DefaultModule,
		Heartbeat:         DefaultHeartbeat,
		EventWindow:       DefaultEventWindow,
		RequestTimeout:    DefaultRequestTimeout,
		WriteTimeout:      DefaultWriteTimeout,
		AuthDeadline:      DefaultAuthDeadline,
		DrainTime:         DefaultDrainTime,
		MaxConnections:    DefaultMaxConnections,
		MaxPreAuth:        DefaultMaxPreAuth,
		MaxPreAuthPerAddr: DefaultPreAuthPerAddr,
		StreamsPerConn:    DefaultStreamsPerConn,
		StreamsPerUser:    DefaultStreamsPerUser,
		MaxStreamLag:      DefaultMaxStreamLag,
		MaxStreamLagBytes: DefaultMaxLagBytes,
		RingBytes:         DefaultRingBytes,
		MaxBody:           DefaultMaxBody,
		MaxEventBytes:     DefaultMaxEventBytes,
		MaxRunEvents:      DefaultMaxRunEvents,
		MaxQueuedRuns:     DefaultMaxQueuedRuns,
		MaxAuthFailures:   DefaultAuthFailures,
		MaxVMs:            DefaultMaxVMs,
		VMMemory:          DefaultVMMemory,
		VMMemoryTotal:     DefaultVMMemoryTotal,
		VMTime:            DefaultVMTime,
		MaxAbandonedVMs:   DefaultMaxAbandoned,
		Runtime:           RuntimeAuto,
		RuntimeStartLimit: DefaultRuntimeStart,
		Durability:        "full",
		Checkpoint:        "auto",
		WorkTrees:         "record",
	}
}

// field ties a setting to the word that names it in a Caddyfile.
type field struct {
	name  string
	value func(*Settings) any
}

// fields lists what the sites of one gateway must agree on, by Caddyfile word.
// Compiled workflows are part of the binary and the same for all.
var fields = []field{
	{"db_path", func(s *Settings) any { return s.DBPath }},
	{"token_store", func(s *Settings) any { return s.TokenStore }},
	{"module", func(s *Settings) any { return s.Module }},
	{"module_root", func(s *Settings) any { return s.ModuleRoot }},
	{"runtime", func(s *Settings) any { return s.Runtime }},
	{"runtime_command", func(s *Settings) any { return s.RuntimeCommand }},
	{"runtime_memory", func(s *Settings) any { return s.RuntimeMemory }},
	{"runtime_start_limit", func(s *Settings) any { return s.RuntimeStartLimit }},
	{"env", func(s *Settings) any { return strings.Join(s.Env, " ") }},
	{"exec", func(s *Settings) any { return strings.Join(s.Exec, " ") }},
	{"fetch_allow", func(s *Settings) any { return strings.Join(s.FetchAllow, " ") }},
	{"heartbeat", func(s *Settings) any { return s.Heartbeat }},
	{"event_window", func(s *Settings) any { return s.EventWindow }},
	{"request_timeout", func(s *Settings) any { return s.RequestTimeout }},
	{"write_timeout", func(s *Settings) any { return s.WriteTimeout }},
	{"auth_deadline", func(s *Settings) any { return s.AuthDeadline }},
	{"drain_time", func(s *Settings) any { return s.DrainTime }},
	{"max_connections", func(s *Settings) any { return s.MaxConnections }},
	{"max_pre_auth", func(s *Settings) any { return s.MaxPreAuth }},
	{"max_pre_auth_per_address", func(s *Settings) any { return s.MaxPreAuthPerAddr }},
	{"streams_per_connection", func(s *Settings) any { return s.StreamsPerConn }},
	{"streams_per_user", func(s *Settings) any { return s.StreamsPerUser }},
	{"max_stream_lag", func(s *Settings) any { return s.MaxStreamLag }},
	{"max_stream_lag_bytes", func(s *Settings) any { return s.MaxStreamLagBytes }},
	{"ring_bytes", func(s *Settings) any { return s.RingBytes }},
	{"max_body", func(s *Settings) any { return s.MaxBody }},
	{"max_event_bytes", func(s *Settings) any { return s.MaxEventBytes }},
	{"max_run_events", func(s *Settings) any { return s.MaxRunEvents }},
	{"max_queued_runs", func(s *Settings) any { return s.MaxQueuedRuns }},
	{"max_auth_failures", func(s *Settings) any { return s.MaxAuthFailures }},
	{"max_vms", func(s *Settings) any { return s.MaxVMs }},
	{"vm_memory", func(s *Settings) any { return s.VMMemory }},
	{"vm_memory_total", func(s *Settings) any { return s.VMMemoryTotal }},
	{"vm_time", func(s *Settings) any { return s.VMTime }},
	{"max_abandoned_vms", func(s *Settings) any { return s.MaxAbandonedVMs }},
	{"durability", func(s *Settings) any { return s.Durability }},
	{"checkpoint", func(s *Settings) any { return s.Checkpoint }},
	{"adopt", func(s *Settings) any { return s.Adopt }},
	{"work_trees", func(s *Settings) any { return s.WorkTrees }},
	{"workspace_root", func(s *Settings) any { return s.WorkspaceRoot }},
	{"run_retention", func(s *Settings) any { return s.RunRetention }},
	{"audit_retention", func(s *Settings) any { return s.AuditRetention }},
	{"upstream", func(s *Settings) any { return s.Upstream }},
	{"upstream token", func(s *Settings) any { return s.UpstreamToken }},
	{"auth", func(s *Settings) any { return s.Auth.fingerprint() }},
	{"go workflows", func(s *Settings) any {
		return strings.Join(slices.Sorted(maps.Keys(s.GoWorkflows)), " ")
	}},
}

// CheckUpstream reports what is wrong with the URL of an upstream.
func CheckUpstream(url string) error { return upstream.ParseURL(url) }

// fixedAtStart are the fields that a running gateway cannot change.
var fixedAtStart = []string{"db_path", "durability", "checkpoint", "adopt", "max_event_bytes", "max_run_events", "max_queued_runs", "max_vms"}

// Differs returns the Caddyfile words of the engine-wide settings in which s and t
// differ, in a fixed order; nil when they agree.
func (s Settings) Differs(t Settings) []string {
	var names []string
	for _, f := range fields {
		if f.value(&s) != f.value(&t) {
			names = append(names, f.name)
		}
	}
	return names
}

// Validate returns every value that cannot work, joined, each named by its
// Caddyfile word.
func (s Settings) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if strings.TrimSpace(s.DBPath) == "" {
		bad("db_path is empty: name the database file")
	} else if strings.HasSuffix(s.DBPath, string(filepath.Separator)) {
		bad("db_path %q is a folder: name a file in it", s.DBPath)
	}
	if s.TokenStore == "" {
		bad("token_store is empty: name the token file (it need not exist yet)")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"heartbeat", s.Heartbeat}, {"request_timeout", s.RequestTimeout}, {"write_timeout", s.WriteTimeout},
		{"auth_deadline", s.AuthDeadline}, {"vm_time", s.VMTime}, {"runtime_start_limit", s.RuntimeStartLimit},
	} {
		if d.value < time.Millisecond || d.value > maxMillis*time.Millisecond {
			bad("%s is %v: it must be between 1ms and %v", d.name, d.value, maxMillis*time.Millisecond)
		}
	}
	if s.DrainTime < 0 || s.DrainTime > time.Hour {
		bad("drain_time is %v: it must be between 0 and 1h", s.DrainTime)
	}
	if s.RunRetention < 0 {
		bad("run_retention is %v: it must not be negative (0 keeps runs for ever)", s.RunRetention)
	}
	if s.AuditRetention < 0 {
		bad("audit_retention is %v: it must not be negative (0 keeps all entries for ever)", s.AuditRetention)
	}
	for _, n := range []struct {
		name               string
		value, least, most int64
	}{
		{"event_window", int64(s.EventWindow), 1, MaxEventWindow},
		{"max_connections", int64(s.MaxConnections), 1, 10_000_000},
		{"max_pre_auth", int64(s.MaxPreAuth), 1, 1_000_000},
		{"max_pre_auth_per_address", int64(s.MaxPreAuthPerAddr), 1, 1_000_000},
		{"streams_per_connection", int64(s.StreamsPerConn), 1, 10_000},
		{"streams_per_user", int64(s.StreamsPerUser), 1, 10_000_000},
		{"max_stream_lag", int64(s.MaxStreamLag), 1, 1 << 40},
		{"max_stream_lag_bytes", s.MaxStreamLagBytes, 1 << 10, 1 << 40},
		{"ring_bytes", s.RingBytes, 1 << 10, 1 << 40},
		{"max_body", s.MaxBody, 1 << 10, 1 << 30},
		{"max_event_bytes", int64(s.MaxEventBytes), 1 << 10, 64 << 20},
		{"max_run_events", int64(s.MaxRunEvents), 100, 1 << 40},
		{"max_queued_runs", int64(s.MaxQueuedRuns), 1, 10_000_000},
		{"max_auth_failures", int64(s.MaxAuthFailures), 1, 1_000_000},
		{"max_vms", int64(s.MaxVMs), 1, 30_000}, // each has memory mappings of its own, and Linux allows a process 65,530
		{"vm_memory", s.VMMemory, 1 << 20, 1 << 40},
		{"vm_memory_total", s.VMMemoryTotal, 1 << 20, 1 << 44},
		{"max_abandoned_vms", int64(s.MaxAbandonedVMs), 1, 10_000},
	} {
		if n.value < n.least || n.value > n.most {
			bad("%s is %d: it must be between %d and %d", n.name, n.value, n.least, n.most)
		}
	}
	if err := jsmod.CheckFetchAllow(s.FetchAllow); err != nil {
		bad("fetch_allow: %w", err)
	}
	if s.VMMemoryTotal < s.VMMemory {
		bad("vm_memory_total (%d) is less than vm_memory (%d): no workflow could run", s.VMMemoryTotal, s.VMMemory)
	}
	if !slices.Contains([]string{RuntimeAuto, RuntimeScript, RuntimeSmithers}, s.Runtime) {
		bad("runtime is %q: allowed are %s, %s and %s", s.Runtime, RuntimeAuto, RuntimeScript, RuntimeSmithers)
	}
	if s.RuntimeMemory < 0 || s.RuntimeMemory > 0 && s.RuntimeMemory < 64<<20 {
		bad("runtime_memory is %d: it must be 0 (no limit) or at least 64MiB: the Smithers runtime alone needs more than that", s.RuntimeMemory)
	}
	if s.Durability != "full" && s.Durability != "normal" {
		bad("durability is %q: allowed are full and normal", s.Durability)
	}
	if s.Checkpoint != "auto" && s.Checkpoint != "external" {
		bad("checkpoint is %q: allowed are auto and external", s.Checkpoint)
	}
	if s.WorkTrees != "record" && s.WorkTrees != "off" {
		bad("work_trees is %q: allowed are record and off", s.WorkTrees)
	}
	if s.Upstream != "" {
		if err := upstream.ParseURL(s.Upstream); err != nil {
			errs = append(errs, err)
		}
	} else if s.UpstreamToken != "" {
		bad("upstream has a token and no URL")
	}
	if err := s.Auth.validate(); err != nil {
		errs = append(errs, err)
	}
	for _, key := range slices.Sorted(maps.Keys(s.GoWorkflows)) {
		if key == "" || s.GoWorkflows[key].Workflow == nil {
			bad("compiled workflow %q has no key or no implementation", key)
		}
	}
	return errors.Join(errs...)
}

// workspaceRoot is what identity.workspaceRoot shows.
func (s *Settings) workspaceRoot() string {
	if s.WorkspaceRoot != "" {
		return s.WorkspaceRoot
	}
	if s.Module == "" {
		return ""
	}
	return filepath.Dir(s.Module)
}

// Validate reports an unusable value of a site.
func (s Site) Validate() error {
	if s.Prefix != "" && (!strings.HasPrefix(s.Prefix, "/") || strings.HasSuffix(s.Prefix, "/")) {
		return fmt.Errorf("prefix %q must begin with a slash and not end with one", s.Prefix)
	}
	if s.MaxBody < 0 || s.MaxBody > 1<<30 {
		return fmt.Errorf("max_body is %d: it must be between 0 (the gateway's) and %d", s.MaxBody, 1<<30)
	}
	return nil
}
