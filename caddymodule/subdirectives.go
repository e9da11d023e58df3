package caddymodule

import (
	"encoding/json"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway"
)

// subdirective reads the arguments of one word of the smithers block.
type subdirective struct {
	repeats bool
	read    reader
}

type reader func(d *caddyfile.Dispenser, h *Handler, word string) error

// subdirectives is filled by init, as the readers call functions that look into it.
var subdirectives map[string]subdirective

func init() {
	subdirectives = map[string]subdirective{
		"db_path":        {read: text(func(h *Handler) **string { return &h.DBPath })},
		"token_store":    {read: text(func(h *Handler) **string { return &h.TokenStore })},
		"module":         {read: text(func(h *Handler) **string { return &h.Module })},
		"module_root":    {read: text(func(h *Handler) **string { return &h.ModuleRoot })},
		"runtime":        {read: oneOf(func(h *Handler) **string { return &h.Runtime }, gateway.RuntimeAuto, gateway.RuntimeScript, gateway.RuntimeSmithers)},
		"workspace_root": {read: text(func(h *Handler) **string { return &h.WorkspaceRoot })},
		"durability":     {read: oneOf(func(h *Handler) **string { return &h.Durability }, "full", "normal")},
		"checkpoint":     {read: oneOf(func(h *Handler) **string { return &h.Checkpoint }, "auto", "external")},
		"work_trees":     {read: oneOf(func(h *Handler) **string { return &h.WorkTrees }, "record", "off")},
		"adopt":          {read: bare(func(h *Handler) *bool { return &h.Adopt })},

		"upstream":    {read: readUpstream},
		"auth":        {read: readAuth},
		"workflow":    {repeats: true, read: readWorkflow},
		"env":         {repeats: true, read: list(func(h *Handler) *[]string { return &h.Env }, checkVariable)},
		"exec":        {repeats: true, read: list(func(h *Handler) *[]string { return &h.Exec }, nil)},
		"fetch_allow": {repeats: true, read: list(func(h *Handler) *[]string { return &h.FetchAllow }, nil)},

		"heartbeat":           {read: duration(func(h *Handler) **caddy.Duration { return &h.Heartbeat }, false)},
		"request_timeout":     {read: duration(func(h *Handler) **caddy.Duration { return &h.RequestTimeout }, false)},
		"write_timeout":       {read: duration(func(h *Handler) **caddy.Duration { return &h.WriteTimeout }, false)},
		"auth_deadline":       {read: duration(func(h *Handler) **caddy.Duration { return &h.AuthDeadline }, false)},
		"drain_time":          {read: duration(func(h *Handler) **caddy.Duration { return &h.DrainTime }, true)},
		"vm_time":             {read: duration(func(h *Handler) **caddy.Duration { return &h.VMTime }, false)},
		"runtime_command":     {read: text(func(h *Handler) **string { return &h.RuntimeCommand })},
		"runtime_memory":      {read: size(func(h *Handler) **Bytes { return &h.RuntimeMemory })},
		"runtime_start_limit": {read: duration(func(h *Handler) **caddy.Duration { return &h.RuntimeStartLimit }, false)},

		"run_retention": {read: duration(func(h *Handler) **caddy.Duration { return &h.RunRetention }, true)},

		"audit_retention": {read: duration(func(h *Handler) **caddy.Duration { return &h.AuditRetention }, true)},

		"event_window":             {read: count(func(h *Handler) **int { return &h.EventWindow })},
		"max_connections":          {read: count(func(h *Handler) **int { return &h.MaxConnections })},
		"max_pre_auth":             {read: count(func(h *Handler) **int { return &h.MaxPreAuth })},
		"max_pre_auth_per_address": {read: count(func(h *Handler) **int { return &h.MaxPreAuthPerAddr })},
		"streams_per_connection":   {read: count(func(h *Handler) **int { return &h.StreamsPerConn })},
		"streams_per_user":         {read: count(func(h *Handler) **int { return &h.StreamsPerUser })},
		"max_stream_lag":           {read: count(func(h *Handler) **int { return &h.MaxStreamLag })},
		"max_run_events":           {read: count(func(h *Handler) **int { return &h.MaxRunEvents })},
		"max_queued_runs":          {read: count(func(h *Handler) **int { return &h.MaxQueuedRuns })},
		"max_auth_failures":        {read: count(func(h *Handler) **int { return &h.MaxAuthFailures })},
		"max_vms":                  {read: count(func(h *Handler) **int { return &h.MaxVMs })},
		"max_abandoned_vms":        {read: count(func(h *Handler) **int { return &h.MaxAbandonedVMs })},

		"max_stream_lag_bytes": {read: size(func(h *Handler) **Bytes { return &h.MaxStreamLagBytes })},
		"ring_bytes":           {read: size(func(h *Handler) **Bytes { return &h.RingBytes })},
		"max_event_bytes":      {read: size(func(h *Handler) **Bytes { return &h.MaxEventBytes })},
		"vm_memory":            {read: size(func(h *Handler) **Bytes { return &h.VMMemory })},
		"vm_memory_total":      {read: size(func(h *Handler) **Bytes { return &h.VMMemoryTotal })},

		"prefix":           {read: readPrefix},
		"origins":          {repeats: true, read: list(func(h *Handler) *[]string { return &h.Origins }, checkOrigin)},
		"max_body":         {read: size(func(h *Handler) **Bytes { return &h.MaxBody })},
		"public_metrics":   {read: onOff(func(h *Handler) **bool { return &h.PublicMetrics })},
		"public_workflows": {read: onOff(func(h *Handler) **bool { return &h.PublicWorkflows })},
		"passthrough":      {read: bare(func(h *Handler) *bool { return &h.Passthrough })},
	}
}

// allowedWords lists what a smithers block may contain.
func allowedWords() []string { return slices.Sorted(maps.Keys(subdirectives)) }

// one reads exactly one argument.
func one(d *caddyfile.Dispenser, word string) (string, error) {
	if !d.NextArg() {
		return "", d.Errf("%s: a value is missing", word)
	}
	value := d.Val()
	if d.NextArg() {
		return "", d.Errf("%s: unexpected %q after %q; quote a value that contains spaces", word, d.Val(), value)
	}
	return value, noBlock(d, word)
}

func noBlock(d *caddyfile.Dispenser, word string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", word)
	}
	return nil
}

func text(field func(*Handler) **string) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		value, err := one(d, word)
		if err != nil {
			return err
		}
		if value == "" {
			return d.Errf("%s: the value is empty", word)
		}
		*field(h) = &value
		return nil
	}
}

func oneOf(field func(*Handler) **string, allowed ...string) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		value, err := one(d, word)
		if err != nil {
			return err
		}
		if !slices.Contains(allowed, value) && !isPlaceholder(value) {
			return d.Errf("%s: %q is not one of %s", word, value, strings.Join(allowed, ", "))
		}
		*field(h) = &value
		return nil
	}
}

func duration(field func(*Handler) **caddy.Duration, zero bool) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		value, err := one(d, word)
		if err != nil {
			return err
		}
		parsed, err := caddy.ParseDuration(value)
		if err != nil || parsed < 0 || parsed == 0 && !zero {
			return d.Errf("%s: %q is not a duration such as 500ms, 15s or 2h%s", word, value, hint(value))
		}
		c := caddy.Duration(parsed)
		*field(h) = &c
		return nil
	}
}

func count(field func(*Handler) **int) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		value, err := one(d, word)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return d.Errf("%s: %q is not a whole number above 0%s", word, value, hint(value))
		}
		*field(h) = &n
		return nil
	}
}

func size(field func(*Handler) **Bytes) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		value, err := one(d, word)
		if err != nil {
			return err
		}
		n, err := parseBytes(value)
		if err != nil || n < 1 {
			return d.Errf("%s: %q is not an amount of bytes such as 1048576, 512KiB or 64MiB%s", word, value, hint(value))
		}
		*field(h) = &n
		return nil
	}
}

func list(field func(*Handler) *[]string, check func(string) string) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		values := d.RemainingArgs()
		if len(values) == 0 {
			return d.Errf("%s: a value is missing", word)
		}
		for _, value := range values {
			if value == "" {
				return d.Errf("%s: the value is empty", word)
			}
			if check != nil && !isPlaceholder(value) {
				if wrong := check(value); wrong != "" {
					return d.Errf("%s: %q %s", word, value, wrong)
				}
			}
		}
		*field(h) = append(*field(h), values...)
		return noBlock(d, word)
	}
}

func bare(field func(*Handler) *bool) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		if d.NextArg() {
			return d.Errf("%s takes no value, but %q follows", word, d.Val())
		}
		*field(h) = true
		return noBlock(d, word)
	}
}

func onOff(field func(*Handler) **bool) reader {
	return func(d *caddyfile.Dispenser, h *Handler, word string) error {
		on := true
		if d.NextArg() {
			switch d.Val() {
			case "on":
			case "off":
				on = false
			default:
				return d.Errf("%s: %q is not one of on, off", word, d.Val())
			}
		}
		if d.NextArg() {
			return d.Errf("%s: unexpected %q", word, d.Val())
		}
		*field(h) = &on
		return noBlock(d, word)
	}
}

func readPrefix(d *caddyfile.Dispenser, h *Handler, word string) error {
	value, err := one(d, word)
	if err != nil {
		return err
	}
	if h.Prefix != "" {
		return d.Errf("prefix: %q is already given after smithers", h.Prefix)
	}
	if isPlaceholder(value) {
		h.Prefix = value
		return nil
	}
	prefix, err := pathPrefix(value)
	if err != nil {
		return d.Err(err.Error())
	}
	h.Prefix = prefix
	return nil
}

// readWorkflow loads a guest module's own syntax if it has one.
func readWorkflow(d *caddyfile.Dispenser, h *Handler, word string) error {
	if !d.NextArg() {
		return d.Errf("workflow: the name of a compiled workflow is missing; there %s", compiledWorkflows())
	}
	key := d.Val()
	if _, twice := h.WorkflowsRaw[key]; twice {
		return d.Errf("workflow %s is given twice", key)
	}
	info, err := caddy.GetModule(guestNamespace + "." + key)
	if err != nil {
		return d.Errf("workflow: %q is not compiled into this binary; there %s", key, compiledWorkflows())
	}
	config := json.RawMessage("{}")
	if _, ok := info.New().(caddyfile.Unmarshaler); ok {
		guest, err := caddyfile.UnmarshalModule(d, string(info.ID))
		if err != nil {
			return err
		}
		config = caddyconfig.JSON(guest, nil)
	} else {
		if d.NextArg() {
			return d.Errf("workflow %s takes no value, but %q follows", key, d.Val())
		}
		if d.NextBlock(d.Nesting()) {
			return d.Errf("workflow %s takes no settings, but %q follows", key, d.Val())
		}
	}
	if h.WorkflowsRaw == nil {
		h.WorkflowsRaw = make(caddy.ModuleMap)
	}
	h.WorkflowsRaw[key] = config
	return nil
}

func compiledWorkflows() string {
	var keys []string
	for _, info := range caddy.GetModules(guestNamespace) {
		keys = append(keys, info.ID.Name())
	}
	switch len(keys) {
	case 0:
		return "are none (build with: xcaddy build --with <module>)"
	case 1:
		return "is " + keys[0]
	}
	return "are " + strings.Join(keys, ", ")
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func checkVariable(name string) string {
	if variableName.MatchString(name) {
		return ""
	}
	return "is not the name of an environment variable"
}

func checkOrigin(origin string) string {
	u, err := url.Parse(origin)
	if err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == origin {
		return ""
	}
	return "is not an origin such as https://example.com or http://localhost:3000"
}

func isPlaceholder(value string) bool {
	return strings.Contains(value, "{") && strings.Contains(value, "}")
}

// hint helps who wrote a placeholder where only a number can stand.
func hint(value string) string {
	if !isPlaceholder(value) {
		return ""
	}
	return "; a placeholder cannot stand here, but {$NAME} can: it is replaced when the file is read"
}
