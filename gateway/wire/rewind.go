package wire

// MaxRewinds bounds the rewinds of a run that one caller may try within an hour.
const MaxRewinds = 10

// Rewound answers rewindRun.
type Rewound struct {
	OK                bool           `json:"ok"` // always true
	NewFrameNo        int64          `json:"newFrameNo"`
	RevertedSandboxes int64          `json:"revertedSandboxes"` // always 0: there are none
	DeletedFrames     int64          `json:"deletedFrames"`     // archived, in truth
	DeletedAttempts   int64          `json:"deletedAttempts"`   // likewise
	InvalidatedDiffs  int64          `json:"invalidatedDiffs"`  // always 0: none are cached
	DurationMs        int64          `json:"durationMs"`
	EffectBoundary    EffectBoundary `json:"effectBoundary"`
}

// EffectBoundary lists the side effects that a rewind steps back behind.
type EffectBoundary struct {
	Blocking   []CrossedEffect `json:"blocking"`   // would be repeated
	Revertible []CrossedEffect `json:"revertible"` // always empty: there are no compensations
	Warnings   []CrossedEffect `json:"warnings"`   // are idempotent
}

// CrossedEffect is an attempt of a task with a declared side effect.
type CrossedEffect struct {
	Kind         string `json:"kind"`            // always "task"
	RunID        string `json:"runId,omitempty"` // of a child run
	ToolName     string `json:"toolName"`
	NodeID       string `json:"nodeId"`
	Iteration    int    `json:"iteration"`
	Attempt      int    `json:"attempt"`
	Seq          int64  `json:"seq"`          // of the attempt's node.started
	EffectStatus string `json:"effectStatus"` // succeeded or unknown
	Idempotent   bool   `json:"idempotent"`
	HasRevert    bool   `json:"hasRevert"` // always false
	StartedAtMs  int64  `json:"startedAtMs"`
	Reason       string `json:"reason,omitempty"`
}

// Values of CrossedEffect.EffectStatus.
const (
	EffectSucceeded = "succeeded"
	EffectUnknown   = "unknown"
)
