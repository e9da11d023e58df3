package gateway

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func environ(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		m[k] = v
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestFromEnviron(t *testing.T) {
	s, err := FromEnviron(environ(), DefaultSettings())
	require.NoError(t, err)
	require.Empty(t, s.Differs(DefaultSettings()))
	require.NoError(t, s.Validate())

	s, err = FromEnviron(environ("SMITHERS_DB_PATH=/x/y.db", "SMITHERS_TOKEN_STORE=/x/t.json", "SMITHERS_GATEWAY_MODULE=/x/m.ts",
		"SMITHERS_GATEWAY_HEARTBEAT_MS=2000", "SMITHERS_GATEWAY_EVENT_WINDOW=7", "SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS=1500",
		"SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS=9000", "PORT=8080"), DefaultSettings())
	require.NoError(t, err)
	require.Equal(t, "/x/y.db", s.DBPath)
	require.Equal(t, "/x/t.json", s.TokenStore)
	require.Equal(t, "/x/m.ts", s.Module)
	require.Equal(t, 2*time.Second, s.Heartbeat)
	require.Equal(t, 7, s.EventWindow)
	require.Equal(t, 1500*time.Millisecond, s.RequestTimeout)
	require.Equal(t, []string{"db_path", "token_store", "module", "heartbeat", "event_window", "request_timeout"},
		s.Differs(DefaultSettings()))
	require.Equal(t, "/x", s.workspaceRoot())

	s, err = FromEnviron(environ("SMITHERS_DB_PATH=", "SMITHERS_GATEWAY_EVENT_WINDOW="), DefaultSettings())
	require.NoError(t, err, "an empty variable is an unset one")
	require.Empty(t, s.Differs(DefaultSettings()))
}

func TestFromEnvironRefusesMalformedValues(t *testing.T) {
	for name, values := range map[string][]string{
		EnvPort:           {"0", "65536", "-1", "http", "80.0", " 80", "+80"},
		EnvHeartbeat:      {"0", "-5", "abc", "1.5", "15s", "99999999999999999999"},
		EnvEventWindow:    {"0", "-1", "1e4", "10_000", "0x10", "10000001"},
		EnvHeadersTimeout: {"0", "x"},
		EnvRequestTimeout: {"0", "x", "60s"},
	} {
		for _, v := range values {
			s, err := FromEnviron(environ(name+"="+v), DefaultSettings())
			var bad *EnvError
			require.ErrorAs(t, err, &bad, "%s=%s", name, v)
			require.Equal(t, name, bad.Name)
			require.ErrorContains(t, err, name+`="`+v+`": write a whole number of `)
			require.Empty(t, s.Differs(DefaultSettings()), "never a silent default beside the error")
		}
	}
}

func TestServerVariables(t *testing.T) {
	port, set, err := Port(environ())
	require.NoError(t, err)
	require.False(t, set)
	require.Equal(t, DefaultPort, port)
	port, set, err = Port(environ("PORT=9"))
	require.NoError(t, err)
	require.True(t, set)
	require.Equal(t, 9, port)
	d, set, err := HeadersTimeout(environ())
	require.NoError(t, err)
	require.False(t, set)
	require.Equal(t, DefaultHeaderTimeout, d)
	d, set, err = HeadersTimeout(environ("SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS=1"))
	require.NoError(t, err)
	require.True(t, set)
	require.Equal(t, time.Millisecond, d)
}

// TestEverySettingIsCompared fails when a field is added and forgotten in the list
// that compares the settings of sites.
func TestEverySettingIsCompared(t *testing.T) {
	typ := reflect.TypeFor[Settings]()
	for i := range typ.NumField() {
		changed := DefaultSettings()
		v := reflect.ValueOf(&changed).Elem().Field(i)
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"x"}))
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string]GoWorkflow{"x": {}}))
		case reflect.Struct: // of authentication; its own fields are in its fingerprint
			v.FieldByName("Mode").SetString(AuthNone)
		default:
			t.Fatalf("field %s has kind %s", typ.Field(i).Name, v.Kind())
		}
		require.Len(t, changed.Differs(DefaultSettings()), 1, typ.Field(i).Name)
	}
	for _, name := range append(fixedAtStart, hostFields...) {
		require.Contains(t, fieldNames(), name)
	}
}

func fieldNames() (names []string) {
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

func TestValidate(t *testing.T) {
	require.NoError(t, DefaultSettings().Validate())
	for want, change := range map[string]func(*Settings){
		"db_path is empty":              func(s *Settings) { s.DBPath = " " },
		"is a folder":                   func(s *Settings) { s.DBPath = "/data/" },
		"token_store is empty":          func(s *Settings) { s.TokenStore = "" },
		"heartbeat is 0s":               func(s *Settings) { s.Heartbeat = 0 },
		"request_timeout is -1s":        func(s *Settings) { s.RequestTimeout = -time.Second },
		"write_timeout":                 func(s *Settings) { s.WriteTimeout = 0 },
		"auth_deadline":                 func(s *Settings) { s.AuthDeadline = 0 },
		"vm_time":                       func(s *Settings) { s.VMTime = 0 },
		"drain_time":                    func(s *Settings) { s.DrainTime = -1 },
		"run_retention":                 func(s *Settings) { s.RunRetention = -1 },
		"event_window is -1":            func(s *Settings) { s.EventWindow = -1 },
		"max_connections is 0":          func(s *Settings) { s.MaxConnections = 0 },
		"max_pre_auth is 0":             func(s *Settings) { s.MaxPreAuth = 0 },
		"max_pre_auth_per_address is 0": func(s *Settings) { s.MaxPreAuthPerAddr = 0 },
		"streams_per_connection is 0":   func(s *Settings) { s.StreamsPerConn = 0 },
		"streams_per_user is 0":         func(s *Settings) { s.StreamsPerUser = 0 },
		"max_stream_lag is 0":           func(s *Settings) { s.MaxStreamLag = 0 },
		"max_stream_lag_bytes is 1":     func(s *Settings) { s.MaxStreamLagBytes = 1 },
		"ring_bytes is 1":               func(s *Settings) { s.RingBytes = 1 },
		"max_body is 1":                 func(s *Settings) { s.MaxBody = 1 },
		"max_event_bytes is 1":          func(s *Settings) { s.MaxEventBytes = 1 },
		"max_vms is 32768":              func(s *Settings) { s.MaxVMs = 32768 },
		"no workflow could run":         func(s *Settings) { s.VMMemoryTotal = s.VMMemory - 1 },
		"max_abandoned_vms is 0":        func(s *Settings) { s.MaxAbandonedVMs = 0 },
		`work_trees is "on"`:            func(s *Settings) { s.WorkTrees = "on" },
		`durability is "fast"`:          func(s *Settings) { s.Durability = "fast" },
		`checkpoint is ""`:              func(s *Settings) { s.Checkpoint = "" },
		`compiled workflow "x"`:         func(s *Settings) { s.GoWorkflows = map[string]GoWorkflow{"x": {}} },
	} {
		s := DefaultSettings()
		change(&s)
		require.ErrorContains(t, s.Validate(), want)
	}
	s := DefaultSettings()
	s.EventWindow, s.Durability = -1, "x"
	require.ErrorContains(t, s.Validate(), "event_window")
	require.ErrorContains(t, s.Validate(), "durability", "every wrong value is named")
	s = DefaultSettings()
	s.GoWorkflows = map[string]GoWorkflow{"x": {Workflow: workflow.Func(nil)}}
	require.NoError(t, s.Validate())

	require.NoError(t, Site{Prefix: "/gw"}.Validate())
	for _, prefix := range []string{"gw", "/gw/", "/"} {
		require.Error(t, Site{Prefix: prefix}.Validate())
	}
	require.Error(t, Site{MaxBody: -1}.Validate())
}
