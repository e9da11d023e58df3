package frames

import (
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// change is what one event changed in the tree, by indexes of elements.
type change struct {
	root    bool // the tree was not there before
	removed []removal
	added   []int32 // parents before their children
	props   []int32
	tasks   []int32
}

type removal struct {
	id    int64
	depth int32
}

// updated notes that a state changed; it shows if it is that of the highest iteration.
func (f *Fold) updated(i int32) {
	if el := f.states[i].elem; el >= 0 && f.elems[el].state == i {
		f.change.tasks = append(f.change.tasks, el)
	}
}

// Delta returns what leads from the frame before to the newest one. It must be asked
// for before the next Apply.
func (f *Fold) Delta() *wire.DevToolsDelta {
	d := &wire.DevToolsDelta{Version: wire.DevToolsVersion, BaseSeq: f.frame - 1, Seq: f.frame, Ops: []wire.DevToolsOp{}}
	c := &f.change
	if c.root {
		d.Ops = append(d.Ops, wire.DevToolsOp{Op: wire.OpReplaceRoot, Node: f.Tree()})
		return d
	}
	slices.SortFunc(c.removed, func(a, b removal) int { return int(b.depth - a.depth) })
	for i := range c.removed {
		d.Ops = append(d.Ops, wire.DevToolsOp{Op: wire.OpRemoveNode, ID: &c.removed[i].id})
	}
	d.Ops = append(d.Ops, f.additions()...)
	for _, el := range distinct(c.props) {
		if e := &f.elems[el]; !e.gone && !f.isNew(el) {
			d.Ops = append(d.Ops, wire.DevToolsOp{Op: wire.OpUpdateProps, ID: &e.id, Props: e.props})
		}
	}
	for _, el := range distinct(c.tasks) {
		if e := &f.elems[el]; !e.gone && !f.isNew(el) && e.state >= 0 {
			d.Ops = append(d.Ops, wire.DevToolsOp{Op: wire.OpUpdateTask, ID: &e.id, Task: f.task(&f.states[e.state])})
		}
	}
	return d
}

// additions adds whole subtrees, those nearest to the root first.
func (f *Fold) additions() (ops []wire.DevToolsOp) {
	type addition struct {
		el, parent int32
		depth      int32
		index      int
	}
	var roots []addition
	for _, el := range f.change.added {
		e := &f.elems[el]
		if e.gone || f.isNew(e.parent) {
			continue
		}
		roots = append(roots, addition{el: el, parent: e.parent, depth: e.depth, index: slices.Index(f.elems[e.parent].children, el)})
	}
	slices.SortFunc(roots, func(a, b addition) int {
		if a.depth != b.depth {
			return int(a.depth - b.depth)
		}
		return a.index - b.index
	})
	for _, a := range roots {
		id, index := f.elems[a.parent].id, a.index
		ops = append(ops, wire.DevToolsOp{Op: wire.OpAddNode, ParentID: &id, Index: &index, Node: f.subtree(a.el)})
	}
	return ops
}

// isNew relies on indexes of elements growing as they are added.
func (f *Fold) isNew(el int32) bool {
	_, found := slices.BinarySearch(f.change.added, el)
	return found
}

func distinct(list []int32) []int32 {
	if len(list) > 1 {
		slices.Sort(list)
		list = slices.Compact(list)
	}
	return list
}
