package frames

import (
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// makers are the types of events that make a frame.
var makers = []string{
	wire.TypeNodePending, wire.TypeNodeStarted, wire.TypeNodeFinished, wire.TypeNodeFailed, wire.TypeNodeRetrying,
	wire.TypeNodeSkipped, wire.TypeNodeCancelled, wire.TypeNodeWaitingApproval, wire.TypeNodeWaitingTimer,
	wire.TypeNodeWaitingEvent, wire.TypeApprovalGranted, wire.TypeApprovalDenied, wire.TypeApprovalAutoGranted,
	wire.TypeTaskRetryRequested, wire.TypeRunFinished, wire.TypeRunFailed, wire.TypeRunCancelled, wire.TypeRunContinuedAsNew,
}

// Makes reports whether an event of a durable type makes a frame.
func Makes(durableType string) bool { return slices.Contains(makers, durableType) }

// types are all that a fold has to see of a log.
var types = append(slices.Clone(makers), wire.TypeTimeTravelJumped, wire.TypeRunStarted, wire.TypeRunStatusChanged)

// Concerns reports whether an event of a durable type changes anything that a fold
// knows: the tree, the numbers of its frames, or the status of the run.
func Concerns(durableType string) bool { return slices.Contains(types, durableType) }
