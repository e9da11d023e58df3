package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// rootName stands for the whole frame (or body) in the messages of bounds.
const rootName = "gateway frame"

// Messages of the bounds that carry no value of their own.
var (
	errNotJSON    = Error{Code: CodeInvalidInput, Message: "Gateway RPC payload must be valid JSON."}
	errDepth      = Error{Code: CodeInvalidInput, Message: rootName + " exceeds the maximum JSON depth of 32."}
	errArray      = Error{Code: CodeInvalidInput, Message: rootName + " contains an array exceeding 256 items."}
	errInputBytes = Error{Code: CodeInvalidInput, Message: "Gateway RPC input exceeds 1048576 bytes."}
	errInputDepth = Error{Code: CodeInvalidInput, Message: "Gateway RPC input exceeds the maximum nesting depth of 32."}
)

// NotJSON is the answer to a frame or body that is no JSON text.
func NotJSON() *Error { e := errNotJSON; return &e }

// CheckBounds holds data against the frame bounds: valid JSON, depth, array and
// string lengths. Of several violations the one that starts first is reported;
// text that is no JSON is always reported as such. It needs memory in proportion
// to the nesting, at most a byte or two per byte of data.
func CheckBounds(data []byte) *Error {
	var b bounds
	_, err := b.run(data)
	return err
}

// bounds collects, in one pass, the first violation, the members of a root object
// and the places where launch prompts are too long.
type bounds struct {
	data    []byte
	err     *Error
	errAt   int
	object  bool                    // the root is an object
	members func(key, value []byte) // called for each member of a root object; may be nil

	path   []step // of the value at hand, by depth from 1 on; at most maxPath
	prompt []span
}

// maxPath bounds the path: deeper values are violations anyway.
const maxPath = MaxJSONDepth + 2

// step is one container on the way to the value at hand.
type step struct {
	key   []byte // raw literal; nil inside an array
	index int
}

type span struct{ from, to int }

// run checks data and returns it with over-long launch prompts cut. Members are
// reported with values that lie in the returned slice.
func (b *bounds) run(data []byte) ([]byte, *Error) {
	members := b.members
	if !utf8.Valid(data) { // what is kept of it must be fit for a text frame
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	for range 2 {
		*b = bounds{data: data, members: members, errAt: len(data) + 1, path: make([]step, 1, 4)}
		s := scanner{data: data}
		if !s.scan(b) {
			return data, NotJSON()
		}
		if len(b.prompt) == 0 {
			break
		}
		data = b.withoutPromptTails()
	}
	return data, b.err
}

func (b *bounds) withoutPromptTails() []byte {
	out := make([]byte, 0, len(b.data))
	last := 0
	for _, p := range b.prompt {
		out = append(out, b.data[last:p.from]...)
		last = p.to
	}
	return append(out, b.data[last:]...)
}

func (b *bounds) violate(at int, e Error) {
	if at < b.errAt {
		first := e // e itself would be allocated for every violation
		b.errAt, b.err = at, &first
	}
}

func (b *bounds) enter(depth, start int) {
	if depth > MaxJSONDepth {
		b.violate(start, errDepth)
	} else if depth > 1 && b.path[depth-1].key == nil {
		b.path[depth-1].index++
	}
}

func (b *bounds) open(depth, start int) {
	b.enter(depth, start)
	if depth == 1 {
		b.object = b.data[start] == '{'
	}
	switch {
	case depth < len(b.path):
		b.path[depth] = step{index: -1}
	case depth < maxPath: // one more than before: depths grow by one
		b.path = append(b.path, step{index: -1})
	}
}

func (b *bounds) close(depth, start, end, items int, arr bool) {
	if arr && items > MaxArrayItems {
		b.violate(start, errArray)
	}
	b.member(depth, start, end)
}

func (b *bounds) key(depth int, raw []byte) {
	if depth < len(b.path) {
		b.path[depth].key = raw
	}
}

func (b *bounds) scalar(depth, start, end int, str *stringInfo) {
	b.enter(depth, start)
	if str != nil {
		switch {
		case str.points > MaxPromptPoints && b.atPrompt(depth):
			b.prompt = append(b.prompt, span{str.cut, end - 1})
		case str.units > MaxStringUnits:
			if start < b.errAt {
				b.violate(start, Error{Code: CodeInvalidInput, Message: rootName + " contains a string exceeding " +
					strconv.Itoa(MaxStringUnits) + " characters (at " + b.where(depth) + ": " +
					strconv.Itoa(str.units) + " characters)."})
			}
		}
	}
	b.member(depth, start, end)
}

// member reports a finished member of the root object.
func (b *bounds) member(depth, start, end int) {
	if depth == 2 && b.object && b.members != nil {
		b.members(b.path[1].key, b.data[start:end])
	}
}

var (
	framePrompt = [...]string{"params", "options", "startedBy", "prompt"}
	bodyPrompt  = framePrompt[1:] // a body over HTTP may be the params themselves
)

func (b *bounds) atPrompt(depth int) bool {
	switch depth - 1 {
	case len(framePrompt):
		return b.along(framePrompt[:])
	case len(bodyPrompt):
		return b.along(bodyPrompt)
	}
	return false
}

func (b *bounds) along(keys []string) bool {
	for i, k := range keys {
		if raw := b.path[i+1].key; raw == nil || text(raw) != k {
			return false
		}
	}
	return true
}

// where names the value at hand, as in "gateway frame.params.x[3]". Keys have no
// bound of their own, so long ones are cut here.
func (b *bounds) where(depth int) string {
	out := []byte(rootName)
	for d := 1; d < depth && d < len(b.path); d++ {
		if k := b.path[d].key; k != nil {
			out = append(append(out, '.'), TruncatePoints(text(k), MaxIDUnits)...)
		} else {
			out = strconv.AppendInt(append(out, '['), int64(b.path[d].index), 10)
			out = append(out, ']')
		}
	}
	return string(out)
}

// CheckInput holds the input of a launch, valid JSON, against its own limits:
// MaxInputBytes without insignificant space, and MaxInputDepth.
func CheckInput(input json.RawMessage) *Error {
	if len(input) > MaxInputBytes {
		var compact bytes.Buffer
		if json.Compact(&compact, input) != nil || compact.Len() > MaxInputBytes {
			e := errInputBytes
			return &e
		}
	}
	depth, inString := 0, false
	for i := 0; i < len(input); i++ {
		switch c := input[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxInputDepth {
				e := errInputDepth
				return &e
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
