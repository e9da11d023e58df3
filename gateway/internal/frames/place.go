package frames

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// touch returns the state of a node, which it enters into the tree if it is new there
// or described to stand elsewhere than so far.
func (f *Fold) touch(key program.Key, desc *Described, eventType string) int32 {
	i, known := f.byKey[key]
	if desc == nil {
		if known {
			return i
		}
		if f.rows != nil {
			desc = f.rows(key)
		}
		if desc == nil {
			desc = &Described{Kind: guessKind(eventType)}
		}
	}
	parent := f.scopes[f.enter(desc.Blocks)].elem
	s := shapeOf(desc.Kind)
	fragment := s.fragment(key.NodeID)
	props := desc.props(key.NodeID)
	el, there := f.kids[kid{parent, fragment}]
	if f.elems[parent].shape == shapeDeep {
		el, there = parent, true
	}
	if known && (!there || f.states[i].elem != el) {
		f.leave(i)
	}
	if !there {
		el = f.add(parent, s, fragment, s.tag, props)
	}
	if !known {
		i = int32(len(f.states))
		f.states = append(f.states, state{key: key, state: wire.NodePending})
		f.byKey[key] = i
	}
	f.states[i].desc, f.states[i].elem = desc, el
	e := &f.elems[el]
	if e.shape == shapeDeep {
		return i
	}
	if e.state < 0 || key.Iteration >= f.states[e.state].key.Iteration {
		e.state = i
		if string(e.props) != string(props) {
			e.props = props
			f.change.props = append(f.change.props, el)
		}
	}
	return i
}

func guessKind(eventType string) program.Kind {
	switch eventType {
	case wire.TypeNodeWaitingTimer:
		return program.KindTimer
	case wire.TypeNodeWaitingEvent:
		return program.KindSignal
	}
	return program.KindTask
}

// enter returns the scope that blocks lead to, outermost first.
func (f *Fold) enter(blocks []program.Block) int32 {
	at, outer := int32(0), ""
	for i := range blocks {
		at = f.scopeOf(at, &blocks[i], outer)
		outer = blocks[i].ID
	}
	return at
}

func (f *Fold) scopeOf(outer int32, b *program.Block, outerID string) int32 {
	// The block as such is one element; each iteration of a loop is a scope of its own.
	whole := blockRef{scope: outer, id: b.ID, iteration: -1}
	block, known := f.blocks[whole]
	if !known {
		block = scoped{elem: f.addBlock(outer, blockOf(b, outerID)), scope: -1}
		f.blocks[whole] = block
	}
	once := blockRef{scope: outer, id: b.ID, iteration: b.Iteration}
	inner, known := f.blocks[once]
	if !known {
		inner = scoped{elem: block.elem, scope: int32(len(f.scopes))}
		f.scopes = append(f.scopes, scope{elem: block.elem})
		f.blocks[once] = inner
	}
	return inner.scope
}

// addBlock finds or makes the element of a block that is new in its scope. The k-th
// with one fragment in a scope is the k-th in every other iteration.
func (f *Fold) addBlock(outer int32, b block) int32 {
	parent := f.scopes[outer].elem
	if f.elems[parent].shape == shapeDeep {
		return parent
	}
	fragment := b.shape.fragment(b.id)
	count := kid{outer, fragment}
	k := f.counts[count]
	f.counts[count] = k + 1
	if k > 0 {
		fragment += "[" + strconv.Itoa(k) + "]"
	}
	if el, ok := f.kids[kid{parent, fragment}]; ok {
		return el
	}
	return f.add(parent, b.shape, fragment, b.shape.tag, b.props())
}

// add makes an element. One that would stand too deep becomes a mark that the tree
// goes on.
func (f *Fold) add(parent int32, s shape, fragment, name string, props json.RawMessage) int32 {
	el := int32(len(f.elems))
	e := element{shape: s, name: name, props: props, parent: parent, state: -1}
	if parent < 0 {
		e.hash = hashText(hashStart, fragment)
	} else {
		p := &f.elems[parent]
		e.depth, e.hash = p.depth+1, childHash(p.hash, fragment)
	}
	if e.depth >= maxDepth {
		e.shape, e.name, e.props = shapeDeep, "[MaxDepth]", noProps
		fragment = shapeDeep.fragment("")
		if el, ok := f.kids[kid{parent, fragment}]; ok {
			return el
		}
	}
	e.id = freeID(e.hash, func(id int64) bool { _, ok := f.ids[id]; return ok })
	f.ids[e.id] = el
	f.elems = append(f.elems, e)
	if parent >= 0 {
		f.elems[parent].children = append(f.elems[parent].children, el)
		f.kids[kid{parent, fragment}] = el
		f.change.added = append(f.change.added, el)
	}
	return el
}

// leave takes a node out of its element, and the element out of the tree when nothing
// else is in it: a retry may take another way through the workflow.
func (f *Fold) leave(i int32) {
	el := f.states[i].elem
	f.states[i].elem = -1
	e := &f.elems[el]
	if e.shape == shapeDeep {
		return
	}
	top := int32(-1)
	for j := range f.states {
		s := &f.states[j]
		if s.elem == el && (top < 0 || s.key.Iteration > f.states[top].key.Iteration) {
			top = int32(j)
		}
	}
	e.state = top
	if top >= 0 {
		e.props = f.states[top].desc.props(f.states[top].key.NodeID)
		f.change.props = append(f.change.props, el)
		f.change.tasks = append(f.change.tasks, el)
		return
	}
	e.gone = true
	delete(f.ids, e.id)
	delete(f.kids, kid{e.parent, e.shape.fragment(f.states[i].key.NodeID)})
	p := &f.elems[e.parent]
	at := slices.Index(p.children, el)
	p.children = slices.Concat(p.children[:at], p.children[at+1:])
	f.change.removed = append(f.change.removed, removal{id: e.id, depth: e.depth})
}
