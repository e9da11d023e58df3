package wire

// MethodRunsMove is this gateway's own: it puts a run that waits or is paused on the
// newest version of its workflow.
const MethodRunsMove = "runs.move"

// MoveToCurrent is the one value of the parameter "to" of runs.move.
const MoveToCurrent = "current"

// RunMoved is the result of runs.move. A version is the hash of a bundle, null for a
// workflow that is compiled in.
type RunMoved struct {
	RunID  string  `json:"runId"`
	Moved  bool    `json:"moved"` // false: the run was on the newest version already
	From   *string `json:"from"`
	To     *string `json:"to"`
	Status string  `json:"status"` // of the run when it was moved
}
