package frames

import (
	"bytes"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Tree returns the tree of the newest frame, or the empty root when there is none.
func (f *Fold) Tree() *wire.DevToolsNode {
	if f.frame == 0 {
		return wire.EmptyDevToolsRoot()
	}
	return f.subtree(0)
}

func (f *Fold) subtree(el int32) *wire.DevToolsNode {
	e := &f.elems[el]
	n := &wire.DevToolsNode{ID: e.id, Type: e.shape.typ, Name: e.name, Props: e.props, Depth: int(e.depth),
		Children: make([]*wire.DevToolsNode, 0, len(e.children))}
	if e.state >= 0 {
		n.Task = f.task(&f.states[e.state])
	}
	for _, child := range e.children {
		n.Children = append(n.Children, f.subtree(child))
	}
	return n
}

// encode is json.Marshal without the escapes that only matter inside HTML.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
