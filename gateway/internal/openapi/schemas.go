package openapi

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// schemas collects the types that the document names.
type schemas struct{ all object }

func newSchemas() *schemas {
	failure := object{"type": "object", "required": []any{"code", "message"}, "properties": object{
		"version": object{"const": wire.APIVersion}, "code": object{"type": "string"}, "message": object{"type": "string"},
		"retryable": object{"type": "boolean"}, "requiredScope": object{"type": "string"}, "details": object{},
	}}
	frame := func(ok bool, member string, schema object) object {
		return object{"type": "object", "required": []any{"type", "id", "ok", "apiVersion", member}, "properties": object{
			"type": object{"const": "res"}, "id": object{"type": "string"}, "ok": object{"const": ok},
			"apiVersion": object{"const": wire.APIVersion}, member: schema}}
	}
	return &schemas{all: object{
		"Error":    failure,
		"Response": frame(true, "payload", object{}),
		"Failure":  frame(false, "error", ref("Error")),
		"RESTFailure": object{"type": "object", "required": []any{"ok", "error"}, "properties": object{
			"ok": object{"const": false}, "error": ref("Error")}},
		"FlatFailure": object{"type": "object", "required": []any{"ok", "code", "message"}, "properties": object{
			"ok": object{"const": false}, "code": object{"type": "string"}, "message": object{"type": "string"},
			"details": ref("Error"), "requiredScope": object{"type": "string"}}},
		"PlainFailure": object{"type": "object", "required": []any{"error"}, "properties": object{"error": ref("Error")}},
		"Delivered": object{"type": "object", "required": []any{"ok", "workflow", "verified", "delivered", "matchedRunIds", "started"},
			"properties": object{
				"ok": object{"const": true}, "workflow": object{"type": "string"}, "verified": object{"const": true},
				"delivered": object{"type": "array", "items": object{"type": "object", "properties": object{
					"runId": object{"type": "string"}, "seq": object{"type": "integer"}, "signalName": object{"type": "string"},
					"correlationId": object{"type": []any{"string", "null"}}, "receivedAtMs": object{"type": "integer"}}}},
				"matchedRunIds": object{"type": "array", "items": object{"type": "string"}},
				"started":       object{"type": []any{"object", "null"}},
				"repeated":      object{"type": "boolean"},
			}},
	}}
}

// of returns the schema of a value's type.
func (s *schemas) of(v any) object { return s.typ(reflect.TypeOf(v)) }

var rawMessage = reflect.TypeFor[json.RawMessage]()

func (s *schemas) typ(t reflect.Type) object {
	switch {
	case t == rawMessage:
		return object{}
	case t.Kind() == reflect.Pointer:
		inner := s.typ(t.Elem())
		if name, ok := inner["type"].(string); ok {
			inner["type"] = []any{name, "null"}
			return inner
		}
		return object{"anyOf": []any{inner, object{"type": "null"}}}
	}
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice:
		item := t.Elem()
		if item.Kind() == reflect.Pointer { // lists have no gaps
			item = item.Elem()
		}
		return object{"type": "array", "items": s.typ(item)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.typ(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	}
	return object{}
}

// structure names a struct's schema and refers to it. Members without omitempty are
// always there.
func (s *schemas) structure(t reflect.Type) object {
	if _, known := s.all[t.Name()]; known {
		return ref(t.Name())
	}
	schema := object{"type": "object"}
	s.all[t.Name()] = schema // before its members: they may refer to it
	properties, required := object{}, []any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		properties[name] = s.typ(f.Type)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, name)
		}
	}
	schema["properties"] = properties
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref(t.Name())
}
