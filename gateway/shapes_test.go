package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shapes are what answers of the original hold, by method or REST route.
type shapes map[string]*shape

// shape is the expectation of one answer: types by path.
type shape struct {
	types    map[string][]string
	optional map[string]bool // may be absent where its parent is there
	added    []*regexp.Regexp
	checked  bool
}

func loadShapes(t testing.TB) shapes {
	f, err := os.Open("testdata/shapes/answers.txt")
	require.NoError(t, err)
	defer f.Close()
	all := shapes{}
	var s *shape
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "== "); ok {
			s = &shape{types: map[string][]string{}, optional: map[string]bool{}}
			all[name] = s
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || line[0] == '#' {
			continue
		}
		if path, ok := strings.CutPrefix(fields[0], "+"); ok {
			// An addition covers what is below it, too.
			pattern := strings.ReplaceAll(regexp.QuoteMeta(path), `\*`, `[^.\[\]]+`)
			s.added = append(s.added, regexp.MustCompile("^"+pattern+`($|[.\[])`))
			continue
		}
		s.types[fields[0]] = strings.Split(fields[1], "|")
		s.optional[fields[0]] = len(fields) > 2
	}
	return all
}

// differences compares an answer with the shape: a required member that is missing, a
// type that clients do not expect, a list without rows where there should be some, a
// member that nobody announced.
func (s *shape) differences(answer any) (found []string) {
	s.checked = true
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	children := map[string][]string{}
	for path := range s.types {
		if parent, name, ok := splitPath(path); ok {
			children[parent] = append(children[parent], name)
		}
	}
	var walk func(value any, at, path string)
	walk = func(value any, at, path string) {
		types, known := s.types[path]
		if path == "" {
			types, known = s.types["."]
		}
		if !known {
			if !slices.ContainsFunc(s.added, func(r *regexp.Regexp) bool { return r.MatchString(path) }) {
				say("%s is not part of the answer", at)
			}
			return
		}
		if is := typeOf(value); !slices.Contains(types, is) {
			say("%s is %s, not %s", at, is, strings.Join(types, " or "))
			return
		}
		switch value := value.(type) {
		case map[string]any:
			anyKey := slices.Contains(children[path], "*")
			for _, name := range children[path] {
				if _, there := value[name]; !there && name != "*" && name != "[]" && !s.optional[join(path, name)] {
					say("%s lacks %s", orRoot(at), name)
				}
			}
			for _, name := range slices.Sorted(maps.Keys(value)) {
				below := join(path, name)
				if _, listed := s.types[below]; !listed && anyKey {
					below = join(path, "*")
				}
				walk(value[name], join(at, name), below)
			}
		case []any:
			if _, rows := s.types[path+"[]"]; rows && len(value) == 0 {
				say("%s is empty", orRoot(at))
			}
			for i, row := range value {
				walk(row, fmt.Sprintf("%s[%d]", at, i), path+"[]")
			}
		}
	}
	walk(answer, "", "")
	return found
}

func orRoot(at string) string {
	if at == "" {
		return "the answer"
	}
	return at
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// splitPath takes the last member off a path.
func splitPath(path string) (parent, name string, ok bool) {
	if path == "." {
		return "", "", false
	}
	if parent, ok := strings.CutSuffix(path, "[]"); ok {
		return parent, "[]", true
	}
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, true
	}
	return path[:i], path[i+1:], true
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func (all shapes) check(t testing.TB, name string, raw []byte) any {
	t.Helper()
	s := all[name]
	require.NotNil(t, s, "no shape of %s", name)
	var answer any
	require.NoError(t, json.Unmarshal(raw, &answer))
	require.Empty(t, s.differences(answer), "%s: %s", name, raw)
	return answer
}

func TestShapesTellDifferences(t *testing.T) {
	s := &shape{types: map[string][]string{".": {"object"}, "a": {"string"}, "b": {"array"}, "b[]": {"number"}, "c": {"null", "number"}},
		optional: map[string]bool{"c": true}}
	require.Empty(t, s.differences(map[string]any{"a": "x", "b": []any{1.0}}))
	require.Equal(t, []string{"the answer lacks a", "b is empty", "c is boolean, not null or number", "d is not part of the answer"},
		s.differences(map[string]any{"b": []any{}, "c": true, "d": 1.0}))
	require.Equal(t, []string{"b[1] is string, not number"}, s.differences(map[string]any{"a": "", "b": []any{1.0, "x"}}))
}
