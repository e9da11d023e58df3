package wire

import "encoding/json"

// RunsDiff is the result of runs.diff: what the right run has other than the left.
// Nodes are named "<node>::<iteration>", outputs by node, loops (ralph) by their ids. Nil
// lists are sent as [].
type RunsDiff struct {
	NodesAdded        []string        `json:"nodesAdded"`
	NodesRemoved      []string        `json:"nodesRemoved"`
	NodesChanged      []ChangedNode   `json:"nodesChanged"`
	OutputsAdded      []string        `json:"outputsAdded"`
	OutputsRemoved    []string        `json:"outputsRemoved"`
	OutputsChanged    []ChangedOutput `json:"outputsChanged"`
	RalphAdded        []string        `json:"ralphAdded"`
	RalphRemoved      []string        `json:"ralphRemoved"`
	RalphChanged      []ChangedLoop   `json:"ralphChanged"`
	InputChanged      bool            `json:"inputChanged"`
	VCSPointerChanged bool            `json:"vcsPointerChanged"`
}

// MarshalJSON sends nil lists as [].
func (d RunsDiff) MarshalJSON() ([]byte, error) {
	type plain RunsDiff
	d.NodesAdded, d.NodesRemoved, d.NodesChanged = list(d.NodesAdded), list(d.NodesRemoved), list(d.NodesChanged)
	d.OutputsAdded, d.OutputsRemoved, d.OutputsChanged = list(d.OutputsAdded), list(d.OutputsRemoved), list(d.OutputsChanged)
	d.RalphAdded, d.RalphRemoved, d.RalphChanged = list(d.RalphAdded), list(d.RalphRemoved), list(d.RalphChanged)
	return json.Marshal(plain(d))
}

// ChangedNode is a node that both runs have, but not alike.
type ChangedNode struct {
	Key  string   `json:"key"`
	From DiffNode `json:"from"`
	To   DiffNode `json:"to"`
}

// ChangedOutput is what a node came to otherwise, one row an iteration.
type ChangedOutput struct {
	Key  string            `json:"key"`
	From []json.RawMessage `json:"from"`
	To   []json.RawMessage `json:"to"`
}

// ChangedLoop is a loop that both runs have, but went round more often in one.
type ChangedLoop struct {
	Key  string   `json:"key"`
	From DiffLoop `json:"from"`
	To   DiffLoop `json:"to"`
}

// DiffNode is what of a node is compared.
type DiffNode struct {
	NodeID      string  `json:"nodeId"`
	Iteration   int     `json:"iteration"`
	State       string  `json:"state"`
	LastAttempt int     `json:"lastAttempt"`
	Label       *string `json:"label"`
}

// DiffLoop is what of a loop is compared: its last iteration.
type DiffLoop struct {
	Iteration int `json:"iteration"`
}
