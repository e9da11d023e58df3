package jsmod

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// jsFailure is an error as the prelude describes it.
type jsFailure struct {
	Name    string     `json:"name"`
	Message string     `json:"message"`
	Code    string     `json:"code"`
	Stack   string     `json:"stack"`
	NoRetry bool       `json:"noRetry"`
	Null    bool       `json:"null"` // null itself was thrown
	Details *rawJSON   `json:"details"`
	Cause   *jsFailure `json:"cause"`
}

// decodeFailure reads an error that came from JavaScript; its stack names the
// user's files afterwards.
func (m *Module) decodeFailure(text string) *program.Failure {
	var f jsFailure
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return &program.Failure{Name: "Error", Message: "an error that cannot be described"}
	}
	return m.convert(&f)
}

func (m *Module) convert(f *jsFailure) *program.Failure {
	out := &program.Failure{Name: f.Name, Message: f.Message, Code: f.Code, NoRetry: f.NoRetry, Stack: m.positions.mapStack(f.Stack)}
	if f.Details != nil {
		_ = json.Unmarshal([]byte(f.Details.JSON), &out.Details) // an object, or left out
	}
	if f.Cause != nil {
		out.Cause = m.convert(f.Cause)
	}
	if f.Name == "InternalError" && f.Message == "out of memory" {
		out.Code = program.CodeMemoryLimit
		out.Message = memoryMessage(m.host.options.MemoryLimit)
		out.NoRetry = true
	}
	if f.Null {
		// The engine throws null when there is no memory left for an Error.
		out.Code, out.NoRetry = program.CodeMemoryLimit, true
		out.Message = "null was thrown, as happens when there is no memory left for an error; " + memoryMessage(m.host.options.MemoryLimit)
	}
	return out
}

func memoryMessage(limit int64) string {
	return fmt.Sprintf("out of memory: a workflow may use %d MiB (vm_memory), all together vm_memory_total", limit>>20)
}

// encodeFailure is the JSON that the prelude makes an Error of.
func encodeFailure(f *program.Failure) string {
	b, err := json.Marshal(f)
	if err != nil {
		b, _ = json.Marshal(program.Failure{Name: f.Name, Message: f.Message, Code: f.Code}) // strings only: cannot fail
	}
	return string(b)
}

// failure turns an error of a VM into what the run is told.
func (h *Host) failure(err error, positions *positions) *program.Failure {
	var f *program.Failure
	var js *quickjs.Error
	var crash *enginePanic
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, errTimeLimit):
		return &program.Failure{Name: "Error", Code: program.CodeTimeLimit, NoRetry: true, Message: fmt.Sprintf(
			"the workflow computed for %v without a pause and was stopped (vm_time); await something between long pieces of work", h.options.TimeLimit)}
	case errors.Is(err, errEndless):
		return &program.Failure{Name: "Error", Code: program.CodeTimeLimit, NoRetry: true, Message: "the workflow was stopped: its promise callbacks never come to an end"}
	case errors.Is(err, errAbandoned):
		return &program.Failure{Name: "Error", Code: program.CodeAbandoned, NoRetry: true, Message: fmt.Sprintf(
			"the workflow computed for more than %v in one built-in function that cannot be stopped, and was given up", h.options.TimeLimit)}
	case errors.As(err, &crash):
		h.logger.Error(crash.Error() + "\n" + string(crash.stack))
		return &program.Failure{Name: "Error", Code: program.CodeSessionError, Message: crash.Error()}
	case errors.Is(err, errMemoryBudget):
		return &program.Failure{Name: "Error", Code: program.CodeMemoryLimit, Message: err.Error()}
	case errors.As(err, &js):
		out := &program.Failure{Name: js.Name, Message: js.Message, Stack: positions.mapStack(js.Stack)}
		if js.Message == "" {
			out.Message = js.Error()
		}
		if js.Name == "InternalError" && js.Message == "out of memory" {
			out.Code, out.Message, out.NoRetry = program.CodeMemoryLimit, memoryMessage(h.options.MemoryLimit), true
		}
		return out
	}
	return &program.Failure{Name: "Error", Message: err.Error()}
}
