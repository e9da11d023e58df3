package host

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Types of reports.
const (
	reportReady      = "ready"
	reportRegistered = "registered" // of a check
	reportFailed     = "failed"
	reportResumed    = "resumed"
	reportBusy       = "busy"
)

// maxReport bounds one line of the script's reports, in bytes.
const maxReport = 4 << 20

// Workflow is what a module registered.
type Workflow struct {
	Key          string `json:"key"`
	ReadableName string `json:"readableName,omitempty"`
	Description  string `json:"description,omitempty"`
	Schedule     string `json:"schedule,omitempty"`
	Webhook      bool   `json:"webhook"`
	System       bool   `json:"system"`
}

// report is one line of the script.
type report struct {
	Type      string     `json:"type"`
	Version   string     `json:"version"` // of smithers-orchestrator
	Workflows []Workflow `json:"workflows"`
	RunID     string     `json:"runId"`
	Runs      int        `json:"runs"`

	// of a failure
	Stage   string `json:"stage"`
	Name    string `json:"name"`
	Message string `json:"message"`
	Code    string `json:"code"`
	Stack   string `json:"stack"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
}

// readReports calls each for every report until r ends. What is no report is skipped:
// the descriptor is the script's alone, but what the module loads runs in the same
// process.
func readReports(r io.Reader, each func(report)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxReport)
	for lines.Scan() {
		var rep report
		if json.Unmarshal(lines.Bytes(), &rep) == nil && rep.Type != "" {
			each(rep)
		}
	}
	_, _ = io.Copy(io.Discard, r) // after a line that was too long, so that nobody blocks
}

// failure makes the error of a failed report.
func (r report) failure(o Options) error {
	folder := filepath.Dir(o.Module)
	if r.Code == "NO_PACKAGE" {
		return fmt.Errorf("%w where %s can import it: looked in the node_modules of %s and of every folder above. Run `npm install smithers-orchestrator` there",
			ErrNoPackage, o.Module, folder)
	}
	text := r.Message
	if r.Name != "" && r.Name != "Error" && r.Name != "BuildMessage" && r.Name != "ResolveMessage" {
		text = r.Name + ": " + text
	}
	if place := r.place(folder); place != "" {
		text = place + ": " + text
	}
	switch r.Stage {
	case "module", "register":
		return fmt.Errorf("%w: %s: %s", ErrModule, o.Module, text)
	case "package":
		return fmt.Errorf("%w: loading smithers-orchestrator: %s", ErrModule, text)
	}
	return fmt.Errorf("the Smithers process failed (%s): %s", r.Stage, text)
}

// frame is a line of a stack: "at name (file:line:column)" or "at file:line:column".
var frame = regexp.MustCompile(`(?m)^\s*at (?:.*\()?(?:file://)?(/[^()\n]+):(\d+):(\d+)\)?$`)

// place is where the module went wrong: where the bundler says, else the innermost
// frame in the user's own code, else the innermost at all.
func (r report) place(folder string) string {
	if r.File != "" {
		return position(folder, r.File, strconv.Itoa(r.Line), strconv.Itoa(r.Column))
	}
	var first string
	for _, m := range frame.FindAllStringSubmatch(r.Stack, -1) {
		if strings.Contains(m[1], "/"+folderPrefix) { // our own
			continue
		}
		p := position(folder, m[1], m[2], m[3])
		if !strings.Contains(m[1], "/node_modules/") {
			return p
		}
		if first == "" {
			first = p
		}
	}
	return first
}

func position(folder, file, line, column string) string {
	if rel, err := filepath.Rel(folder, file); err == nil && !strings.HasPrefix(rel, "..") {
		file = rel
	}
	return file + ":" + line + ":" + column
}
