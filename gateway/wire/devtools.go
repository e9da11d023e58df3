package wire

import "encoding/json"

// DevToolsVersion is the version member of everything DevTools shows.
const DevToolsVersion = 1

// Types of DevToolsNode that this gateway makes.
const (
	DevToolsWorkflow = "workflow"
	DevToolsTaskType = "task" // also a gate: its task has the kind approval
	DevToolsSequence = "sequence"
	DevToolsParallel = "parallel"
	DevToolsLoop     = "loop"
	DevToolsTimer    = "timer"
	DevToolsSubflow  = "subflow"
	DevToolsWait     = "wait-for-event"
	DevToolsUnknown  = "unknown"
)

// Kinds of DevToolsTask that this gateway makes.
const (
	DevToolsCompute  = "compute"
	DevToolsStatic   = "static"
	DevToolsApproval = "approval"
)

// DevToolsSnapshot is the tree of a run as of one frame. A run without frames has
// frameNo 0 and the root EmptyDevToolsRoot.
type DevToolsSnapshot struct {
	Version  int           `json:"version"`
	RunID    string        `json:"runId"`
	FrameNo  int64         `json:"frameNo"`
	Seq      int64         `json:"seq"` // = frameNo
	Root     *DevToolsNode `json:"root"`
	RunState *RunState     `json:"runState,omitempty"` // deltas never change it
}

// DevToolsNode is one element of the tree. Props is an object.
type DevToolsNode struct {
	ID       int64           `json:"id"`
	Type     string          `json:"type"`
	Name     string          `json:"name"`
	Props    json.RawMessage `json:"props"`
	Task     *DevToolsTask   `json:"task,omitempty"`
	Children []*DevToolsNode `json:"children"` // never null
	Depth    int             `json:"depth"`
}

// DevToolsTask is what a node of the journal has come to. State and attempt are those
// of its highest iteration.
type DevToolsTask struct {
	NodeID      string `json:"nodeId"`
	Kind        string `json:"kind"`
	MaxAttempts int    `json:"maxAttempts,omitempty"`
	Label       string `json:"label,omitempty"`
	Iteration   int    `json:"iteration"`
	State       string `json:"state"`
	Attempt     int    `json:"attempt"` // last one begun, 0 for none
}

// DevToolsDelta leads from the frame baseSeq to the frame seq.
type DevToolsDelta struct {
	Version int          `json:"version"`
	BaseSeq int64        `json:"baseSeq"`
	Seq     int64        `json:"seq"`
	Ops     []DevToolsOp `json:"ops"` // never null
}

// Values of DevToolsOp.Op.
const (
	OpAddNode     = "addNode"
	OpRemoveNode  = "removeNode"
	OpUpdateProps = "updateProps"
	OpUpdateTask  = "updateTask"
	OpReplaceRoot = "replaceRoot"
)

// DevToolsOp is one change of a delta; which members it has depends on Op.
type DevToolsOp struct {
	Op       string          `json:"op"`
	ID       *int64          `json:"id,omitempty"`       // all but addNode and replaceRoot
	ParentID *int64          `json:"parentId,omitempty"` // addNode
	Index    *int            `json:"index,omitempty"`    // addNode; clamped
	Node     *DevToolsNode   `json:"node,omitempty"`     // addNode, replaceRoot
	Props    json.RawMessage `json:"props,omitempty"`    // updateProps
	Task     *DevToolsTask   `json:"task,omitempty"`     // updateTask; nil removes it
}

// DevToolsEvent is the event member of a devtools.event payload: exactly one of
// Snapshot and Delta is set, as Kind says.
type DevToolsEvent struct {
	Version  int               `json:"version"`
	Kind     string            `json:"kind"` // DevToolsSnapshotKind or DevToolsDeltaKind
	Snapshot *DevToolsSnapshot `json:"snapshot,omitempty"`
	Delta    *DevToolsDelta    `json:"delta,omitempty"`
}

// Values of DevToolsEvent.Kind.
const (
	DevToolsSnapshotKind = "snapshot"
	DevToolsDeltaKind    = "delta"
)

// EmptyDevToolsRoot is the root of a run without frames.
func EmptyDevToolsRoot() *DevToolsNode {
	return &DevToolsNode{Type: DevToolsWorkflow, Name: "(empty)", Props: json.RawMessage("{}"), Children: []*DevToolsNode{}}
}

// DevToolsOpened answers streamDevTools. Both members are the cursor that was given.
type DevToolsOpened struct {
	StreamID string `json:"streamId"`
	RunID    string `json:"runId"`
	FromSeq  *int64 `json:"fromSeq"`
	AfterSeq *int64 `json:"afterSeq"`
}

// AppendDevToolsEvent appends the frame of one encoded DevToolsEvent.
func AppendDevToolsEvent(dst []byte, streamID, runID string, event []byte, seq, stateVersion int64) []byte {
	dst = AppendEventHead(dst, EventDevTools)
	dst = append(AppendString(append(dst, `{"streamId":`...), streamID), `,"runId":`...)
	dst = append(append(AppendString(dst, runID), `,"event":`...), event...)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// AppendDevToolsError appends the frame that ends a DevTools stream.
func AppendDevToolsError(dst []byte, streamID, runID string, err *Error, seq, stateVersion int64) []byte {
	dst = AppendEventHead(dst, EventDevToolsError)
	dst = append(AppendString(append(dst, `{"streamId":`...), streamID), `,"runId":`...)
	dst = append(AppendString(dst, runID), `,"error":{"code":`...)
	dst = append(AppendString(dst, err.Code), `,"message":`...)
	return AppendEventTail(append(AppendString(dst, err.Message), '}', '}'), seq, stateVersion)
}
