package jsmod

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// hostCall serves the operations of a workflow's VM. It runs during a turn.
func (m *machine) hostCall(op string, args []any) (any, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.detached {
		return nil, errAbandoned
	}
	switch op {
	case "request":
		r, err := decodeRequest(args)
		if err != nil {
			return nil, err
		}
		m.add(*r)
	case "cancelBlock":
		m.add(program.CancelBlock{BlockID: argText(args, 0)})
	case "end":
		m.add(m.attemptEnd(args))
		m.operations.untrace(attemptID{argInt(args, 0), argInt(args, 1)})
	case "output":
		text := argText(args, 3)
		m.say(program.Output{Ref: int64(argInt(args, 0)), Number: argInt(args, 1), Stream: argText(args, 2), Text: text}, len(text))
	case "heartbeat":
		data := argJSON(args, 2)
		m.say(program.Heartbeat{Ref: int64(argInt(args, 0)), Number: argInt(args, 1), Data: data}, len(data))
	case "usage":
		fields := argJSON(args, 2)
		m.say(program.Usage{Ref: int64(argInt(args, 0)), Number: argInt(args, 1), Fields: fields}, len(fields))
	case "taskEffect":
		m.add(m.taskEffect(args))
	case "log":
		text := argText(args, 1)
		m.say(program.LogLine{Level: argText(args, 0), Text: text}, len(text))
	case "uncaught", "unhandled":
		line := m.strayError(op, args)
		m.say(line, len(line.Text))
	case "done", "failed", "continue":
		m.finish(op, args)
	default:
		return m.startOperation(op, args)
	}
	return nil, nil
}

// finish records how the function ended; the first word counts.
func (m *machine) finish(op string, args []any) {
	if m.turn.Done != nil {
		return
	}
	switch op {
	case "done":
		m.turn.Done = &program.Outcome{Value: argJSON(args, 0)}
	case "failed":
		m.turn.Done = &program.Outcome{Err: m.module.decodeFailure(argText(args, 0))}
	case "continue":
		m.turn.Done = &program.Outcome{Continue: argJSON(args, 0)}
	}
}

func (m *machine) attemptEnd(args []any) program.AttemptEnd {
	end := program.AttemptEnd{Ref: int64(argInt(args, 0)), Number: argInt(args, 1)}
	if argBool(args, 2) {
		end.Value = argJSON(args, 3)
	} else {
		end.Err = m.module.decodeFailure(argText(args, 3))
	}
	return end
}

func (m *machine) strayError(op string, args []any) program.LogLine {
	f := m.module.decodeFailure(argText(args, 0))
	what := "uncaught error in a callback: "
	if op == "unhandled" {
		what = "unhandled promise rejection: "
	}
	text := what + f.Name + ": " + f.Message
	if f.Stack != "" {
		text += "\n" + f.Stack
	}
	return program.LogLine{Level: "error", Text: text}
}

// effectAnswer is posted when the engine has performed an effect of a task.
type effectAnswer struct {
	id    int
	value json.RawMessage
	err   *program.Failure
}

func (m *machine) taskEffect(args []any) program.TaskEffect {
	id, post := argInt(args, 4), m.env.Post
	return program.TaskEffect{
		Ref: int64(argInt(args, 0)), Number: argInt(args, 1),
		Effect: program.EffectOptions{Op: argText(args, 2), Args: argJSON(args, 3)},
		Reply: func(value json.RawMessage, err *program.Failure) {
			post(effectAnswer{id: id, value: value, err: err})
		},
	}
}

var errRequest = errors.New("host: malformed request")

// rawJSON is a value that crossed as JSON text inside an options object.
type rawJSON struct {
	JSON string `json:"json"`
}

// decodeRequest reads (ref, kind, nodeId, iteration, label, blocks, options).
func decodeRequest(args []any) (*program.Request, error) {
	r := &program.Request{
		Ref: int64(argInt(args, 0)), Kind: program.Kind(argText(args, 1)), Label: argText(args, 4),
		Key: program.Key{NodeID: argText(args, 2), Iteration: argInt(args, 3)},
	}
	if blocks := argText(args, 5); blocks != "" {
		if err := json.Unmarshal([]byte("["+blocks+"]"), &r.Blocks); err != nil {
			return nil, fmt.Errorf("%w: blocks: %w", errRequest, err)
		}
	}
	options := argJSON(args, 6)
	var err error
	switch r.Kind {
	case program.KindTask:
		r.Task = &program.TaskOptions{}
		if string(options) != "{}" {
			err = json.Unmarshal(options, r.Task)
		}
	case program.KindApproval:
		r.Approval = &program.ApprovalOptions{}
		err = json.Unmarshal(options, r.Approval)
	case program.KindSignal:
		r.Signal = &program.SignalOptions{}
		err = json.Unmarshal(options, r.Signal)
	case program.KindTimer:
		r.Timer = &program.TimerOptions{}
		err = json.Unmarshal(options, r.Timer)
	case program.KindRun:
		var o struct {
			Workflow string  `json:"workflow"`
			Input    rawJSON `json:"input"`
		}
		err = json.Unmarshal(options, &o)
		r.Run = &program.RunOptions{Workflow: o.Workflow, Input: json.RawMessage(o.Input.JSON)}
	case program.KindEffect:
		var o struct {
			Op   string  `json:"op"`
			Args rawJSON `json:"args"`
		}
		err = json.Unmarshal(options, &o)
		r.Effect = &program.EffectOptions{Op: o.Op, Args: json.RawMessage(o.Args.JSON)}
	default:
		err = fmt.Errorf("kind %q", r.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	return r, nil
}

func undefinedIfNil(v any) any {
	if v == nil {
		return quickjs.Undefined{}
	}
	return v
}
