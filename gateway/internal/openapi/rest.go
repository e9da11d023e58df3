package openapi

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// restRoute is a route below /v1/api: the method whose scope, parameters and answer
// it has, and the parameters of its query. Numbers end in "#", flags in "?".
type restRoute struct{ route, method, query string }

const scoresQuery = "runId nodeId scorerId scorerName source order offset# limit#"

var restRoutes = []restRoute{
	{"GET runs", wire.MethodListRuns, "limit# offset# status workflow parentRunId includeSystem?"},
	{"POST runs", wire.MethodLaunchRun, ""},
	{"GET runs/{run}", wire.MethodGetRun, ""},
	{"POST runs/{run}/cancel", wire.MethodCancelRun, ""},
	{"POST runs/{run}/resume", wire.MethodResumeRun, ""},
	{"POST runs/{run}/rewind", wire.MethodRewindRun, ""},
	{"POST runs/{run}/pause", wire.MethodPauseRun, ""},
	{"POST runs/{run}/hijack", "hijackRun", ""},
	{"GET runs/{run}/node-states", wire.MethodListNodeStates, ""},
	{"GET runs/{run}/token-usage", "listRunTokenUsage", ""},
	{"GET runs/{run}/descendants", "listRunDescendants", "limit#"},
	{"GET runs/{run}/tree", "getDevToolsSnapshot", "frameNo#"},
	{"GET runs/{run}/devtools", "getDevToolsSnapshot", "frameNo#"},
	{"GET runs/{run}/hijack-candidates", "", ""},
	{"POST runs/{run}/oneshot-monitor/attach", "oneshotMonitorAttach", ""},
	{"POST runs/{run}/oneshot-monitor/steer", "oneshotMonitorSteer", ""},
	{"POST runs/{run}/oneshot-monitor/restart", "oneshotMonitorRestart", ""},
	{"GET runs/{run}/events", "", "nodeId afterSeq# limit#"},
	{"GET events", "", "runId nodeId afterSeq# limit#"},
	{"GET nodes/{run}/{node}/output", wire.MethodGetNodeOutput, "iteration#"},
	{"GET nodes/{run}/{node}/diff", "getNodeDiff", "iteration#"},
	{"POST nodes/{run}/{node}/retry", wire.MethodRetryTask, ""},
	{"GET runs/{run}/nodes/{node}/output", wire.MethodGetNodeOutput, "iteration#"},
	{"GET runs/{run}/nodes/{node}/diff", "getNodeDiff", "iteration#"},
	{"POST runs/{run}/nodes/{node}/retry", wire.MethodRetryTask, ""},
	{"GET approvals", wire.MethodListApprovals, "runId workflow limit#"},
	{"POST approvals/{approval}", wire.MethodSubmitApproval, ""},
	{"POST signals", wire.MethodSubmitSignal, ""},
	{"GET crons", "cronList", "workflow"},
	{"POST crons", "cronCreate", ""},
	{"POST crons/run", wire.MethodCronRun, ""},
	{"DELETE crons/{cron}", "cronDelete", ""},
	{"GET scores", "listScores", "runId nodeId"},
	{"GET scores/compare", "listScoresForRuns", scoresQuery},
	{"GET scores/{run}/{score}", "getScoreDetail", ""},
	{"GET tickets", "listTickets", "kind"},
	{"POST tickets", "createTicket", ""},
	{"PATCH tickets/{path...}", "updateTicket", ""},
	{"PUT tickets/{path...}", "updateTicket", ""},
	{"DELETE tickets/{path...}", "deleteTicket", ""},
	{"GET docs", "listDocs", "kind includeDeleted? updatedAfterMs# limit#"},
	{"GET prompts", "listPrompts", ""},
	{"GET memory-facts", "listMemoryFacts", "namespace"},
	{"GET accounts", "listAccounts", ""},
	{"GET usage", "listUsageReports", "fresh?"},
	{"GET workflows", wire.MethodListWorkflows, "hasUi? includeSystem?"},
	{"GET schema-signature", "getSchemaSignature", ""},
}

var pathVariable = regexp.MustCompile(`\{(\w+)(\.\.\.)?\}`)

// restPaths describes the routes below /v1/api.
func restPaths() object {
	paths := object{}
	for _, r := range restRoutes {
		verb, path, _ := strings.Cut(r.route, " ")
		path = "/v1/api/" + strings.ReplaceAll(path, "...", "")
		item, known := paths[path].(object)
		if !known {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(verb)] = r.operation(verb)
	}
	return paths
}

func (r restRoute) operation(verb string) object {
	scope, description := wire.ScopeRunRead, ""
	if r.method != "" {
		scope = wire.ResolveMethod(r.method).Scope
		description = "Answers as " + r.method + ". "
	}
	parameters := []any{}
	for _, m := range pathVariable.FindAllStringSubmatch(r.route, -1) {
		p := object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}}
		switch {
		case m[2] != "":
			p["description"] = "May hold slashes."
		case m[1] == "approval":
			p["description"] = "<run>:<node>:<iteration>"
		}
		parameters = append(parameters, p)
	}
	for name := range strings.FieldsSeq(r.query) {
		schema := object{"type": "string"}
		switch name[len(name)-1] {
		case '#':
			schema = object{"type": "integer", "minimum": 0}
		case '?':
			schema = object{"type": "boolean"}
		}
		if r.query == scoresQuery && name == "runId" {
			schema = object{"type": "array", "items": schema}
		}
		parameters = append(parameters, object{"name": strings.TrimRight(name, "#?"), "in": "query", "schema": schema})
	}
	data := object{"type": "object", "required": []any{"ok", "data"}, "properties": object{"ok": object{"const": true}, "data": object{}}}
	if verb != http.MethodGet {
		data["properties"].(object)["seq"] = object{"type": "integer", "description": "The change stream has shown the change at this number."}
	}
	op := object{
		"operationId": "rest_" + strings.ToLower(verb) + "_" + strings.Trim(regexp.MustCompile(`\W+`).ReplaceAllString(r.route[len(verb):], "_"), "_"),
		"summary":     r.route, "description": description + "Scope: `" + scope + "`.", "tags": []any{"rest"}, "x-smithers-scope": scope,
		"responses": object{"200": reply("What was asked for.", data),
			"4XX": reply("What went wrong; the code tells.", ref("RESTFailure")), "5XX": reply("What went wrong; the code tells.", ref("RESTFailure"))},
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	switch verb {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		op["requestBody"] = object{"content": object{"application/json": object{"schema": object{"type": "object",
			"description": "Parameters of the method; those that the path names are taken from there."}}}}
	}
	return op
}

// streamsAndWrites are the other two routes that web applications use.
func streamsAndWrites() object {
	failure := func(schema object) object { return reply("What went wrong; the code tells.", schema) }
	return object{
		"/v1/api/stream": object{"get": object{
			"operationId": "streamChanges", "summary": "Which collections changed, as it happens", "tags": []any{"rest"},
			"description":      "Scope: `run:read`. Events are change, heartbeat and reset; none holds rows.",
			"x-smithers-scope": wire.ScopeRunRead,
			"parameters": []any{object{"name": "Last-Event-ID", "in": "header", "description": "Changes behind this one; reset when it is not known.",
				"schema": object{"type": "string"}}},
			"responses": object{"200": object{"description": "The stream.", "content": object{"text/event-stream": object{"schema": object{"type": "string"}}}},
				"4XX": failure(ref("RESTFailure")), "5XX": failure(ref("RESTFailure"))},
		}},
		"/v1/electric/write": object{"post": object{
			"operationId": "electricWrite", "summary": "Any method, for Electric clients", "description": "Scope: that of the method.", "tags": []any{"rest"},
			"requestBody": object{"required": true, "content": object{"application/json": object{"schema": object{"type": "object", "required": []any{"method"},
				"properties": object{"method": text("Name of the method."), "params": object{"type": "object"}, "vars": object{"type": "object"}}}}}},
			"responses": object{"200": reply("What the method returned.", object{"type": "object", "required": []any{"ok", "payload", "txid"},
				"properties": object{"ok": object{"const": true}, "payload": object{}, "txid": object{"type": "null"}}}),
				"4XX": failure(ref("FlatFailure")), "5XX": failure(ref("FlatFailure"))},
		}},
	}
}
