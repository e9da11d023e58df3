package wire

// MaxDiffBytes bounds the bundle of a diff.
const MaxDiffBytes = 52_428_800

// Diff is what a node or a run changed in its work tree.
type Diff struct {
	Seq     int         `json:"seq"`     // number of the attempt; 1 for a run
	BaseRef string      `json:"baseRef"` // git tree of the state before
	Patches []DiffPatch `json:"patches"`
}

// DiffPatch is what became of one file.
type DiffPatch struct {
	Path          string `json:"path"`
	Operation     string `json:"operation"` // add, modify or delete
	Diff          string `json:"diff"`
	BinaryContent string `json:"binaryContent,omitempty"` // base64
}

// OversizedDiff answers for a run whose diff is not sent.
type OversizedDiff struct {
	Status      string `json:"status"` // always "oversized"
	BaseRef     string `json:"baseRef"`
	TerminalRef string `json:"terminalRef"`
	SizeBytes   int64  `json:"sizeBytes"`
	MaxBytes    int64  `json:"maxBytes"`
}
