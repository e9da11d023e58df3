package engine

import "github.com/smithersai/caddy-smithers/gateway/internal/frames"

// described is the member of a node's first event by which its place in the run's tree
// is known later, whatever becomes of its row. What a wait is for and when a timer ends is in
// the detail of their events anyway.
func (n *node) described() field {
	list := make([]field, 1, 6)
	list[0] = text("kind", n.row.Kind)
	put := func(name, value string) {
		if value != "" {
			list = append(list, text(name, value))
		}
	}
	put("label", n.row.Label)
	if len(n.row.Blocks) > 0 {
		list = append(list, raw("blocks", n.row.Blocks))
	}
	if g := n.gate(); g != nil {
		put("mode", n.gateMode())
		put("onDeny", g.OnDeny)
	}
	if t := n.opt.Task; t != nil && t.Retries > 0 {
		list = append(list, number("maxAttempts", int64(t.Retries)+1))
	}
	if c := n.opt.Run; c != nil {
		put("workflow", c.Workflow)
		put("childRunId", n.opt.ChildID)
	}
	return raw(frames.DetailMember, members(list))
}
