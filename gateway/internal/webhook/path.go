package webhook

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// decode reads a body; an empty one is an empty object.
func decode(body []byte) (value any, raw json.RawMessage, ok bool) {
	raw = bytes.TrimSpace(body)
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // as it was written: ids are longer than floats are exact
	if d.Decode(&value) != nil || len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		return nil, nil, false
	}
	return value, raw, true
}

// at follows a dot-separated path, digits of which index arrays. A blank path is the
// value itself.
func at(value any, path string) (any, bool) {
	if strings.TrimSpace(path) == "" {
		return value, true
	}
	for step := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			next, ok := v[step]
			if !ok {
				return nil, false
			}
			value = next
		case []any:
			i, err := strconv.ParseUint(step, 10, 31)
			if err != nil || int(i) >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// text is the value at a path as an id: strings are trimmed, numbers and booleans
// written out, and anything else is no id.
func text(value any, path string) string {
	v, _ := at(value, path)
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return numberText(v.String())
	}
	return ""
}

// numberText writes a number as JavaScript does; whole ones keep all their digits.
func numberText(s string) string {
	if !strings.ContainsAny(s, ".eE") && s != "-0" {
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return s
	}
	if f == 0 {
		return "0"
	}
	if a := math.Abs(f); a >= 1e21 || a < 1e-6 {
		t := strconv.FormatFloat(f, 'e', -1, 64)
		return strings.NewReplacer("e-0", "e-", "e+0", "e+").Replace(t)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// encoded is the value at a path as JSON; null when nothing is there. raw is the
// whole value.
func encoded(value any, raw json.RawMessage, path string) (json.RawMessage, error) {
	if strings.TrimSpace(path) == "" {
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, err
		}
		return b.Bytes(), nil
	}
	v, _ := at(value, path)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
