package rpc

import (
	"encoding/json"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// decisionFields are what a decided gate holds.
func decisionFields() []wire.OutputField {
	return []wire.OutputField{
		{Name: "approved", Type: "boolean"},
		{Name: "note", Type: "string", Optional: true, Nullable: true},
		{Name: "decidedBy", Type: "string", Nullable: true},
		{Name: "decidedAt", Type: "string", Nullable: true},
	}
}

// choiceOf names the member that holds the decision of a select or rank gate; "" for
// every other node.
func choiceOf(n *store.Node) string {
	if o := optionsOf(n).Approval; o != nil && n.Kind == string(program.KindApproval) {
		switch o.Mode {
		case wire.ModeSelect:
			return "selected"
		case wire.ModeRank:
			return "ranked"
		}
	}
	return ""
}

// choiceFields are what a decided select or rank gate holds.
func choiceFields(choice string) []wire.OutputField {
	kind := "string"
	if choice == "ranked" {
		kind = "array"
	}
	return []wire.OutputField{{Name: choice, Type: kind}, {Name: "notes", Type: "string", Nullable: true}}
}

// schemaOf describes the row of a node: by the JSON schema the task declared, by
// what its kind always holds, or by the value itself.
func schemaOf(n *store.Node) wire.OutputSchema {
	switch program.Kind(n.Kind) {
	case program.KindApproval:
		if choice := choiceOf(n); choice != "" {
			return wire.OutputSchema{Fields: choiceFields(choice)}
		}
		return wire.OutputSchema{Fields: decisionFields()}
	case program.KindTask:
		if o := optionsOf(n).Task; o != nil && len(o.Output) > 0 {
			if fields := declaredFields(o.Output); fields != nil {
				return wire.OutputSchema{Fields: fields}
			}
		}
	}
	return wire.OutputSchema{Fields: observedFields(n.Output)}
}

// declaredFields reads the properties of a JSON schema of an object.
func declaredFields(raw json.RawMessage) []wire.OutputField {
	var s struct {
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
	}
	if json.Unmarshal(raw, &s) != nil || len(s.Properties) == 0 {
		return nil
	}
	properties := parseParams(s.Properties)
	fields := []wire.OutputField{}
	for _, name := range memberOrder(s.Properties) {
		var d struct {
			Type        json.RawMessage `json:"type"`
			Description string          `json:"description"`
			Enum        json.RawMessage `json:"enum"`
			Nullable    bool            `json:"nullable"`
		}
		_ = json.Unmarshal(properties[name], &d) // a property of another shape is of unknown type
		f := wire.OutputField{Name: name, Type: "unknown", Description: d.Description, Enum: d.Enum,
			Nullable: d.Nullable, Optional: !slices.Contains(s.Required, name)}
		var one string
		var many []string
		if json.Unmarshal(d.Type, &one) == nil {
			many = []string{one}
		} else {
			_ = json.Unmarshal(d.Type, &many)
		}
		for _, t := range many {
			switch t {
			case "null":
				f.Nullable = true
				if len(many) == 1 {
					f.Type = t
				}
			case "integer":
				f.Type = "number"
			case "string", "number", "boolean", "object", "array":
				f.Type = t
			}
		}
		fields = append(fields, f)
	}
	return fields
}

// observedFields describes a value that no schema announced.
func observedFields(value json.RawMessage) []wire.OutputField {
	fields := []wire.OutputField{}
	row, err := outputRow(value)
	if err != nil {
		return fields
	}
	members := parseParams(row)
	for _, name := range memberOrder(row) {
		t := jsonType(members[name])
		fields = append(fields, wire.OutputField{Name: name, Type: t, Nullable: t == "null"})
	}
	return fields
}

func jsonType(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "unknown"
	}
	switch raw[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}
