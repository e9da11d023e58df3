// Package layers holds the order in which the packages of this repository may
// import each other. Its test reads the real imports and compares.
package layers

import "strings"

// Module is this repository's module path.
const Module = "github.com/smithersai/caddy-smithers"

// Order lists the layers from the bottom up. A package may import packages of the
// layers below its own, and nothing of its own layer or above.
var Order = [][]string{
	{"gateway/workflow", "gateway/wire", "gateway/internal/ballast", "gateway/internal/collector"},
	{
		"gateway/internal/processors", "gateway/internal/program", "gateway/internal/quickjs",
		"gateway/internal/sqlitefile", "gateway/internal/tracing",
	},
	{
		"gateway/internal/auth", "gateway/internal/store", "gateway/internal/jsmod", "gateway/internal/schedule",
		"gateway/internal/worktree",
	},
	{"gateway/internal/eventlog", "gateway/internal/frames"},
	{"gateway/internal/engine", "gateway/internal/upstream"},
	{"gateway/internal/rpc"},
	{
		"gateway/internal/wsconn", "gateway/internal/rest", "gateway/internal/sse", "gateway/internal/webhook",
		"gateway/internal/cron", "gateway/internal/openapi", "gateway/internal/console", "gateway/internal/changes",
	},
	{"gateway"},
	{"caddymodule"},
	{"examples"},
	{"xcaddy", "e2e", "conformance"},
}

// Aside are packages outside the order: tools that any program or test may use and
// that import nothing of the layers.
var Aside = []string{"internal"}

// Forbidden names what a package (with the packages below its folder) must not
// import, directly or through others.
var Forbidden = map[string][]string{
	"gateway":      {"github.com/caddyserver/", "github.com/spf13/cobra", "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters"},
	"gateway/wire": {"github.com/", "go.uber.org/", "golang.org/", "modernc.org/"},
}

// ForbiddenDirect is Forbidden for a package's own imports only.
var ForbiddenDirect = map[string][]string{
	"gateway/internal/wsconn": {Module + "/gateway/internal/store"},
}

// Layer returns the number of the layer a package belongs to: the longest entry of
// Order that is the package or a folder above it. ok is false if there is none.
func Layer(pkg string) (level int, entry string, ok bool) {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, Module), "/")
	for i, entries := range Order {
		for _, e := range entries {
			if within(rel, e) && len(e) >= len(entry) {
				level, entry, ok = i, e, true
			}
		}
	}
	return level, entry, ok
}

// IsAside reports whether a package stands outside the order.
func IsAside(pkg string) bool {
	rel := strings.TrimPrefix(strings.TrimPrefix(pkg, Module), "/")
	for _, a := range Aside {
		if within(rel, a) {
			return true
		}
	}
	return false
}

func within(rel, folder string) bool { return rel == folder || strings.HasPrefix(rel, folder+"/") }
