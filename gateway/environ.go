package gateway

import (
	"fmt"
	"strconv"
	"time"
)

// Names of the environment variables that the gateway reads.
const (
	EnvPort           = "PORT"
	EnvDBPath         = "SMITHERS_DB_PATH"
	EnvTokenStore     = "SMITHERS_TOKEN_STORE"
	EnvModule         = "SMITHERS_GATEWAY_MODULE"
	EnvHeartbeat      = "SMITHERS_GATEWAY_HEARTBEAT_MS"
	EnvEventWindow    = "SMITHERS_GATEWAY_EVENT_WINDOW"
	EnvHeadersTimeout = "SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS"
	EnvRequestTimeout = "SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS"
	EnvRuntime        = "SMITHERS_GATEWAY_RUNTIME"
	EnvRuntimeCommand = "SMITHERS_GATEWAY_RUNTIME_COMMAND"
	EnvUpstream       = "SMITHERS_GATEWAY_UPSTREAM"
	EnvUpstreamToken  = "SMITHERS_GATEWAY_UPSTREAM_TOKEN"
	EnvTrustAnyHost   = "SMITHERS_GATEWAY_TRUST_ANY_HOST" // of AuthNone: 1 or true
)

// maxMillis is the longest time the variables accept, about 24.8 days: what the
// original's timers could hold.
const maxMillis = 1<<31 - 1

// EnvError is a variable with a value that cannot be used.
type EnvError struct {
	Name  string // the variable
	Value string
	Fix   string // what to write instead
}

func (e *EnvError) Error() string {
	return fmt.Sprintf("%s=%q: %s", e.Name, e.Value, e.Fix)
}

// FromEnviron returns base with the fields that the environment sets. lookup is
// os.LookupEnv or a stand-in. A variable that is unset or empty changes nothing; a
// malformed one is an *EnvError. PORT and the headers timeout belong to the server
// and are checked here but read by Port and HeadersTimeout.
func FromEnviron(lookup func(string) (string, bool), base Settings) (Settings, error) {
	s := base
	text := func(name string, into *string) {
		if v, ok := lookup(name); ok && v != "" {
			*into = v
		}
	}
	text(EnvDBPath, &s.DBPath)
	text(EnvTokenStore, &s.TokenStore)
	text(EnvModule, &s.Module)
	text(EnvRuntimeCommand, &s.RuntimeCommand)
	switch v, _ := lookup(EnvRuntime); v {
	case "":
	case RuntimeAuto, RuntimeScript, RuntimeSmithers:
		s.Runtime = v
	default:
		return base, &EnvError{EnvRuntime, v, "write auto, script or smithers, or unset it"}
	}
	text(EnvUpstream, &s.Upstream)
	text(EnvUpstreamToken, &s.UpstreamToken)
	if v, _ := lookup(EnvTrustAnyHost); v == "1" || v == "true" {
		s.Auth.TrustAnyHost = true
	}

	if ms, set, err := envInt(lookup, EnvHeartbeat, 1, maxMillis, "milliseconds"); err != nil {
		return base, err
	} else if set {
		s.Heartbeat = time.Duration(ms) * time.Millisecond
	}
	if n, set, err := envInt(lookup, EnvEventWindow, 1, MaxEventWindow, "events"); err != nil {
		return base, err
	} else if set {
		s.EventWindow = int(n)
	}
	if ms, set, err := envInt(lookup, EnvRequestTimeout, 1, maxMillis, "milliseconds"); err != nil {
		return base, err
	} else if set {
		s.RequestTimeout = time.Duration(ms) * time.Millisecond
	}
	if _, _, err := HeadersTimeout(lookup); err != nil {
		return base, err
	}
	if _, _, err := Port(lookup); err != nil {
		return base, err
	}
	return s, nil
}

// Port reads PORT; set is false, and the port DefaultPort, when it is unset.
func Port(lookup func(string) (string, bool)) (port int, set bool, err error) {
	n, set, err := envInt(lookup, EnvPort, 1, 65535, "a TCP port")
	if err != nil || !set {
		return DefaultPort, false, err
	}
	return int(n), true, nil
}

// HeadersTimeout reads the time a client has to send its request headers; set is
// false, and the time DefaultHeaderTimeout, when it is unset.
func HeadersTimeout(lookup func(string) (string, bool)) (d time.Duration, set bool, err error) {
	ms, set, err := envInt(lookup, EnvHeadersTimeout, 1, maxMillis, "milliseconds")
	if err != nil || !set {
		return DefaultHeaderTimeout, false, err
	}
	return time.Duration(ms) * time.Millisecond, true, nil
}

func envInt(lookup func(string) (string, bool), name string, least, most int64, unit string) (int64, bool, error) {
	v, ok := lookup(name)
	if !ok || v == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(v, 10, 63) // digits only: no sign, no fraction, no unit
	if err != nil || int64(n) < least || int64(n) > most {
		return 0, false, &EnvError{name, v, fmt.Sprintf("write a whole number of %s from %d to %d, or unset it", unit, least, most)}
	}
	return int64(n), true, nil
}
