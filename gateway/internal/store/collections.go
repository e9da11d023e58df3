package store

import "strings"

// Collections is a set of the names under which clients refetch what has changed.
type Collections uint16

// The collections of the change stream.
const (
	CollectionRuns Collections = 1 << iota
	CollectionRunEvents
	CollectionNodes
	CollectionNodeOutputs
	CollectionApprovals
	CollectionCrons
	CollectionTickets
	CollectionDocs
	CollectionWorkflows
)

// Touch notes that the unit changes rows of these collections. The methods of Tx that
// write do so by themselves. What a unit that fails has noted is dropped.
func (tx *Tx) Touch(c Collections) { tx.touched |= c }

// OnChange sets the function that learns which collections a transaction has changed,
// after COMMIT and before its units are told. Set it before the first unit. It runs on
// the committer's goroutine and must not block.
func (s *Store) OnChange(fn func(Collections)) { s.onChange = fn }

// Names returns the names of the set, sorted.
func (c Collections) Names() []string {
	names := make([]string, 0, len(collectionNames))
	for _, n := range collectionNames {
		if c&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// collectionNames is ordered by name.
var collectionNames = [...]struct {
	bit  Collections
	name string
}{
	{CollectionApprovals, "approvals"}, {CollectionCrons, "crons"}, {CollectionDocs, "docs"},
	{CollectionNodeOutputs, "node_outputs"}, {CollectionNodes, "nodes"}, {CollectionRunEvents, "run_events"},
	{CollectionRuns, "runs"}, {CollectionTickets, "tickets"}, {CollectionWorkflows, "workflows"},
}

// collectionsOf is what an event tells of, by its pushed name.
func collectionsOf(name string) Collections {
	kind, _, _ := strings.Cut(name, ".")
	switch {
	case name == "":
		return CollectionRunEvents
	case name == "task.output":
		return CollectionRunEvents | CollectionNodes | CollectionNodeOutputs
	case kind == "approval":
		return CollectionApprovals | CollectionRuns | CollectionRunEvents | CollectionNodes
	case kind == "node" || kind == "task" || kind == "agent":
		return CollectionRunEvents | CollectionNodes
	case kind == "run":
		return CollectionRuns | CollectionRunEvents | CollectionNodes
	case kind == "cron":
		return CollectionCrons | CollectionRuns
	}
	return CollectionRuns | CollectionRunEvents
}
