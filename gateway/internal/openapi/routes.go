package openapi

import "github.com/smithersai/caddy-smithers/gateway/wire"

// routes describes what is not an RPC method of its own.
func routes(s *schemas) object {
	open := []any{} // no credentials
	page := object{"description": "An HTML page.", "content": object{"text/html": object{"schema": object{"type": "string"}}}}
	probe := func(id, summary string) object {
		return object{"get": object{"operationId": id, "summary": summary, "tags": []any{"probes"}, "security": open, "responses": object{
			"200": reply("Yes.", object{"type": "object", "properties": object{"ok": object{"const": true}}}),
			"503": reply("No, and why.", ref("RESTFailure")),
		}}}
	}
	query := func(name, description string, schema object) object {
		return object{"name": name, "in": "query", "description": description, "schema": schema}
	}
	failure := func(description string) object { return reply(description, ref("RESTFailure")) }
	return object{
		"/rpc": object{"post": object{
			"operationId": "rpc", "summary": "Any method, named in the body", "tags": []any{"rpc"},
			"requestBody": object{"required": true, "content": object{"application/json": object{"schema": object{
				"type": "object", "required": []any{"method"}, "properties": object{
					"id": text("Echoed in the response."), "method": text("Name of the method."), "params": object{"type": "object"}}}}}},
			"responses": object{"200": reply("The response frame.", ref("Response")),
				"4XX": object{"$ref": "#/components/responses/Failure"}, "5XX": object{"$ref": "#/components/responses/Failure"}},
		}},
		"/health": object{"get": object{"operationId": "healthProbe", "summary": "State of the gateway", "tags": []any{"probes"}, "security": open,
			"responses": object{"200": reply("Somebody is there; ok tells whether it works.", s.of(wire.HealthProbe{})),
				"503": reply("Starting or stopping.", ref("PlainFailure"))}}},
		"/health/ready": probe("ready", "Whether the gateway does its work"),
		"/health/live":  probe("live", "Whether a restart would not help"),
		"/metrics": object{"get": object{"operationId": "metrics", "summary": "Prometheus metrics",
			"description": "Public where the site says so, else with scope `observability:read`.", "tags": []any{"probes"},
			"responses": object{"200": object{"description": "Metrics.", "content": object{"text/plain": object{"schema": object{"type": "string"}}}},
				"4XX": object{"$ref": "#/components/responses/Failure"}}}},
		"/workflows": object{"get": object{"operationId": "workflows", "summary": "Workflows that are no system workflows",
			"description": "Public where the site says so, else with scope `run:read`.", "tags": []any{"probes"},
			"responses": object{"200": reply("Sorted by key.", object{"type": "object", "properties": object{"workflows": s.of([]wire.WorkflowRow{})}}),
				"4XX": object{"$ref": "#/components/responses/Failure"}}}},
		"/v1/auth/session": object{"get": object{"operationId": "session", "summary": "Turn a token into a cookie and go on", "tags": []any{"rpc"},
			"parameters": []any{query("token", "The token; else that of the usual headers.", object{"type": "string"}),
				query("next", "Target on this site.", object{"type": "string", "default": "/"})},
			"responses": object{"200": page, "4XX": object{"$ref": "#/components/responses/Failure"}}}},
		"/v1/api/runs/{runId}/stream": object{"get": object{
			"operationId": "streamRunEvents", "summary": "Events of a run as they come",
			"description": "Scope: `run:read`. Events are run.stream, run.event, run.gap_resync, run.heartbeat and run.error; their data is that of the socket's frames. " +
				"The stream ends with the last event of the run.",
			"tags": []any{"events"}, "x-smithers-scope": wire.ScopeRunRead,
			"parameters": []any{
				object{"name": "runId", "in": "path", "required": true, "schema": object{"type": "string"}},
				query("afterSeq", "Begin behind this event; 0 for the whole window. Without it only new events come.", object{"type": "integer", "minimum": 0}),
				object{"name": "Last-Event-ID", "in": "header", "description": "Like afterSeq, and wins over it.", "schema": object{"type": "integer", "minimum": 0}},
			},
			"responses": object{
				"200": object{"description": "The stream.", "content": object{"text/event-stream": object{"schema": object{"type": "string"}}}},
				"204": object{"description": "The run has ended and nothing is left to send."},
				"4XX": failure("What went wrong; the code tells."), "5XX": failure("What went wrong; the code tells."),
			},
		}},
		"/webhooks/{workflow}": object{"post": object{
			"operationId": "webhook", "summary": "Deliver an event of another system", "tags": []any{"webhooks"}, "security": open,
			"parameters": []any{
				object{"name": "workflow", "in": "path", "required": true, "schema": object{"type": "string"}},
				object{"name": "X-Hub-Signature-256", "in": "header", "required": true, "schema": object{"type": "string"},
					"description": "sha256= and the lower-case hex HMAC-SHA256 of the raw body. A workflow may name another header and prefix."},
				object{"name": "X-GitHub-Delivery", "in": "header", "schema": object{"type": "string"},
					"description": "Names the delivery; a repeated one is answered as before and does nothing. A workflow may name another header."},
			},
			"requestBody": object{"content": object{"application/json": object{"schema": object{}}}},
			"responses":   object{"200": reply("What it did.", ref("Delivered")), "4XX": failure("Why it was refused."), "5XX": failure("What went wrong.")},
		}},
		"/openapi.json": object{"get": object{"operationId": "openapi", "summary": "This document", "tags": []any{"probes"}, "security": open,
			"responses": object{"200": reply("An OpenAPI 3.1 document.", object{"type": "object"}),
				"503": reply("Starting or stopping.", ref("PlainFailure"))}}},
	}
}
