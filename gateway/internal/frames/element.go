package frames

import (
	"encoding/json"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxDepth bounds the tree: at this depth stands one element for all that is deeper.
const maxDepth = 256

const tagPrefix = "smithers:"

// shape is what kind of element something is.
type shape struct{ typ, tag string }

var (
	shapeWorkflow = shape{wire.DevToolsWorkflow, "workflow"}
	shapeSequence = shape{wire.DevToolsSequence, "sequence"}
	shapeParallel = shape{wire.DevToolsParallel, "parallel"}
	shapeLoop     = shape{wire.DevToolsLoop, "ralph"}
	shapeTask     = shape{wire.DevToolsTaskType, "task"}
	shapeTimer    = shape{wire.DevToolsTimer, "timer"}
	shapeWait     = shape{wire.DevToolsWait, "wait-for-event"}
	shapeSubflow  = shape{wire.DevToolsSubflow, "subflow"}
	shapeDeep     = shape{wire.DevToolsUnknown, "unknown"}
)

func shapeOf(kind program.Kind) shape {
	switch kind {
	case program.KindTimer:
		return shapeTimer
	case program.KindSignal:
		return shapeWait
	case program.KindRun:
		return shapeSubflow
	}
	return shapeTask
}

// fragment is a step of a path: the tag, and the id of an element that has one.
func (s shape) fragment(id string) string {
	if id == "" {
		return tagPrefix + s.tag
	}
	return tagPrefix + s.tag + "#" + id
}

// element is a node of the tree. Elements are named by their index in Fold.elems,
// because a fold is copied as a whole.
type element struct {
	shape    shape
	name     string
	props    json.RawMessage // an object; shared, never changed
	id       int64
	parent   int32 // -1 at the root
	state    int32 // of the highest iteration; -1: a container
	depth    int32
	hash     uint32
	gone     bool
	children []int32 // in order of appearance; appended to, or replaced, never changed in place
}

// block is what the tree makes of a block of a workflow.
type block struct {
	shape shape
	id    string // what its author called it, or the key of the arm; "" for none
	label string
}

// blockOf reads the id of a block, which is unique within an execution: in scripts a
// name, "#" and a number, and for an arm of a parallel block that of the block, "/" and
// the key of the arm. Compiled workflows have "p" and a number, for an arm "." and its
// number behind it, and plain names for loops.
func blockOf(b *program.Block, outerID string) block {
	name, _, counted := cutLast(b.ID, "#")
	switch b.Kind {
	case "loop":
		return block{shape: shapeLoop, id: name}
	case "parallel":
		if !counted || name == "parallel" { // nobody named it
			name = ""
		}
		return block{shape: shapeParallel, id: name}
	}
	key := strings.TrimPrefix(b.ID, outerID)
	if key != "" && key != b.ID {
		key = key[1:] // the separator
	}
	arm := block{shape: shapeSequence, id: key}
	if strings.Trim(key, "0123456789") != "" {
		arm.label = key
	}
	return arm
}

// LoopID returns the id of a loop, if b is an iteration of one.
func LoopID(b *program.Block) (id string, ok bool) {
	if of := blockOf(b, ""); of.shape == shapeLoop {
		return of.id, true
	}
	return "", false
}

func (b block) props() json.RawMessage {
	m := map[string]any{}
	if b.id != "" {
		m["id"] = b.id
	}
	if b.label != "" {
		m["label"] = b.label
	}
	return object(m)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
