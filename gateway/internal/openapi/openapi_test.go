package openapi

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/rest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var update = flag.Bool("update", false, "write openapi.json anew")

// The document that is checked in and served is the one that the tables make.
func TestDocumentIsUpToDate(t *testing.T) {
	made, err := Generate()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("openapi.json", made, 0o644))
		return
	}
	require.Equal(t, string(made), string(Document()), "run the test with -update")
}

func parsed(t *testing.T) map[string]any {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Document()))
	require.NoError(t, err)
	return doc.(map[string]any)
}

// The document meets the schema of OpenAPI 3.1 that its authors publish.
func TestDocumentIsValid(t *testing.T) {
	raw, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	require.NoError(t, err)
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("https://spec.openapis.org/oas/3.1/schema/2021-04-15", schema))
	compiled, err := c.Compile("https://spec.openapis.org/oas/3.1/schema/2021-04-15")
	require.NoError(t, err)
	require.NoError(t, compiled.Validate(parsed(t)))

	broken := parsed(t)
	delete(broken, "info")
	require.Error(t, compiled.Validate(broken), "the schema is really asked")
}

// Every reference leads somewhere, and the schemas inside are schemas.
func TestReferencesResolve(t *testing.T) {
	doc := parsed(t)
	at := func(pointer string) bool {
		var v any = doc
		for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
			m, ok := v.(map[string]any)
			if !ok {
				return false
			}
			if v, ok = m[step]; !ok {
				return false
			}
		}
		return true
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if pointer, ok := v["$ref"].(string); ok {
				require.True(t, at(pointer), pointer)
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	all := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name := range all {
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource("mem:///doc", doc))
		_, err := c.Compile("mem:///doc#/components/schemas/" + name)
		require.NoError(t, err, name)
	}
}

func TestEveryMethodIsDescribed(t *testing.T) {
	paths := parsed(t)["paths"].(map[string]any)
	ids := map[string]bool{}
	for _, m := range wire.Methods() {
		item, ok := paths["/v1/rpc/"+m.Name].(map[string]any)
		require.Equal(t, !m.WSOnly, ok, m.Name)
		if m.WSOnly {
			continue
		}
		op := item["post"].(map[string]any)
		require.Equal(t, m.Scope, op["x-smithers-scope"])
		for _, alias := range m.Legacy {
			require.Contains(t, op["description"], alias)
		}
		require.False(t, ids[op["operationId"].(string)])
		ids[op["operationId"].(string)] = true
	}
	for name := range methods {
		require.Contains(t, paths, "/v1/rpc/"+name)
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	var described []string
	ids := map[any]bool{}
	for _, r := range restRoutes {
		described = append(described, r.route)
		require.True(t, r.method == "" || strings.HasPrefix(r.method, "oneshotMonitor") || wire.ResolveMethod(r.method).Known, r.method)
	}
	require.ElementsMatch(t, rest.Routes(), described)
	for _, item := range parsed(t)["paths"].(map[string]any) {
		for _, op := range item.(map[string]any) {
			id := op.(map[string]any)["operationId"]
			require.False(t, ids[id], id)
			ids[id] = true
		}
	}
}
