// Package openapi describes the HTTP surface of the gateway as an OpenAPI 3.1
// document. It is made from the table of methods and the types of the wire, and
// checked in, so that a change of either shows in a review; a test compares.
package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

//go:embed openapi.json
var document []byte

// Document returns the document. The caller must not change it.
func Document() []byte { return document }

type object = map[string]any

// Generate makes the document anew, indented and with a line feed at its end.
func Generate() ([]byte, error) {
	schemas := newSchemas()
	paths := object{}
	for _, m := range wire.Methods() {
		if m.WSOnly {
			continue
		}
		paths["/v1/rpc/"+m.Name] = object{"post": method(m, schemas)}
	}
	for _, more := range []object{routes(schemas), restPaths(), streamsAndWrites()} {
		maps.Copy(paths, more)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "Smithers Gateway",
			"version":     wire.APIVersion,
			"description": "Durable workflow runs over HTTP. Events come over the WebSocket on / or as server-sent events.",
			"license":     object{"name": "MIT", "identifier": "MIT"},
		},
		"servers":  []any{object{"url": "/"}},
		"tags":     []any{object{"name": "rpc"}, object{"name": "rest"}, object{"name": "events"}, object{"name": "probes"}, object{"name": "webhooks"}},
		"security": []any{object{"bearer": []any{}}, object{"key": []any{}}, object{"cookie": []any{}}},
		"paths":    paths,
		"components": object{
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer", "description": "A token of the store, or a JWT."},
				"key":    object{"type": "apiKey", "in": "header", "name": "X-Smithers-Key"},
				"cookie": object{"type": "apiKey", "in": "cookie", "name": "smithers_session", "description": "With _<port> behind it when the Host header names a port. Set by /v1/auth/session."},
			},
			"schemas":   schemas.all,
			"responses": object{"Failure": reply("What went wrong; the code tells.", ref("Failure"))},
		},
	}
	text, err := json.MarshalIndent(doc, "", "  ") // members in order of their names
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return append(text, '\n'), nil
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

func reply(description string, schema object) object {
	return object{"description": description, "content": object{"application/json": object{"schema": schema}}}
}

// method describes one RPC method.
func method(m wire.Method, s *schemas) object {
	about := methods[m.Name]
	description := "Scope: `" + m.Scope + "`."
	if len(m.Legacy) > 0 {
		description += " Also known as `" + strings.Join(m.Legacy, "`, `") + "`."
	}
	if about.text != "" {
		description = about.text + " " + description
	}
	params := object{"type": "object", "additionalProperties": true}
	if len(about.params) > 0 {
		params["properties"] = about.params
	}
	if len(about.required) > 0 {
		params["required"] = about.required
	}
	payload := object{}
	if about.result != nil {
		payload = s.of(about.result)
	}
	op := object{
		"operationId": strings.ReplaceAll(m.Name, ".", "_"), "summary": m.Name, "description": description, "tags": []any{"rpc"},
		"x-smithers-scope": m.Scope, "x-smithers-catalogued": m.Catalogued,
		"requestBody": object{"content": object{"application/json": object{"schema": params}}},
		"responses": object{
			"200": reply("The response frame.", object{"allOf": []any{ref("Response"), object{"properties": object{"payload": payload}}}}),
			"4XX": object{"$ref": "#/components/responses/Failure"},
			"5XX": object{"$ref": "#/components/responses/Failure"},
		},
	}
	if len(m.Legacy) > 0 {
		op["x-smithers-aliases"] = m.Legacy
	}
	return op
}
