package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// workflows are what actors launch in turn.
var workflows = []string{"chain", "gated", "signalled", "timed", "family", "endless"}

// Methods of acknowledgements in the ledger.
const (
	ackLaunch = "launchRun"
	ackDecide = "submitApproval"
	ackSignal = "submitSignal"
	ackCancel = "cancelRun"
	ackResult = "getRun"
)

// interrupted is the code of a task that was cut too often.
const interrupted = "TASK_INTERRUPTED"

// actor is a client with one run.
type actor struct {
	f        *Fleet
	c        *client.Client
	n        int64
	id       string
	workflow string
	random   *rand.Rand
	seen     chan string   // names of events, the live ones as they come
	lost     chan struct{} // closed when no more will come because the stream failed
}

// live launches the run, does what it waits for and follows it to its end.
func (a *actor) live() error {
	input := map[string]any{"url": a.f.ledger.URL, "steps": 2 + a.n%4, "corr": a.id}
	err := a.f.insist(a.c, "launchRun", map[string]any{"workflow": a.workflow, "runId": a.id, "input": input}, nil)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	a.ack(ackLaunch, a.workflow)
	var wg sync.WaitGroup
	var followed, acted error
	wg.Go(func() {
		if followed = (&follower{f: a.f, run: a.id, name: "live", seen: a.seen}).follow(a.c); followed != nil {
			close(a.lost)
		}
	})
	acted = a.act()
	wg.Wait()
	if followed != nil {
		return fmt.Errorf("stream: %w", followed)
	}
	var refused *client.Error
	if acted != nil && !errors.As(acted, &refused) {
		return acted
	}
	if a.f.ReplayEach {
		if err := a.replay(); err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	result, err := a.result()
	if acted != nil && !strings.HasSuffix(result, interrupted) { // a run that was cut too often takes no more decisions
		return acted
	}
	return err
}

func (a *actor) ack(method, value string) {
	a.f.ledger.Add(rig.Entry{Kind: rig.EntryAck, Run: a.id, Method: method, Value: value})
}

func (a *actor) act() error {
	switch a.workflow {
	case "gated":
		return a.decide()
	case "signalled":
		if a.random.IntN(2) == 0 { // else the signal comes before the wait
			if err := a.await("node.finished"); err != nil {
				return err
			}
		}
		value := fmt.Sprintf("payload of %s", a.id)
		err := a.f.insist(a.c, "submitSignal", map[string]any{
			"runId": a.id, "signalName": "go", "correlationId": a.id, "data": map[string]any{"value": value},
		}, nil)
		if err != nil {
			return fmt.Errorf("signal: %w", err)
		}
		a.ack(ackSignal, value)
	case "endless":
		for range 1 + a.random.IntN(3) {
			if err := a.await("node.finished"); err != nil {
				return err
			}
		}
		var result struct{ Status string }
		if err := a.f.insist(a.c, "cancelRun", map[string]any{"runId": a.id}, &result); err != nil {
			return fmt.Errorf("cancel: %w", err)
		}
		a.ack(ackCancel, result.Status)
	}
	return nil
}

// decide lets two people decide the gate differently at the same time. At most one is
// told that it did.
func (a *actor) decide() error {
	if err := a.await("approval.requested"); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			approved := i == 0
			err := a.f.insist(a.c, "submitApproval", map[string]any{
				"runId": a.id, "nodeId": "gate", "approved": approved, "note": fmt.Sprintf("%s by %d", a.id, i),
			}, nil)
			switch {
			case err == nil:
				a.ack(ackDecide, fmt.Sprint(approved))
			case !client.IsCode(err, "AlreadyDecided"):
				errs[i] = fmt.Errorf("decide: %w", err)
			}
		})
	}
	wg.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// await waits until the follower has seen an event of this name, or the end.
func (a *actor) await(name string) error {
	for {
		select {
		case got := <-a.seen:
			if got == name {
				return nil
			}
			if got == "run.completed" {
				a.seen <- got // for those who ask next
				return nil
			}
		case <-a.lost:
			return fmt.Errorf("waiting for %s: the stream failed", name)
		case <-a.f.ctx.Done():
			return a.f.ctx.Err()
		}
	}
}

// result records how the run ended.
func (a *actor) result() (value string, err error) {
	var run struct {
		Status    string
		Output    json.RawMessage
		ErrorJSON *string
	}
	if err := a.f.insist(a.c, "getRun", map[string]any{"runId": a.id}, &run); err != nil {
		return "", fmt.Errorf("result: %w", err)
	}
	value = run.Status
	if strings.Contains(rig.Text(run.ErrorJSON), interrupted) {
		value += " " + interrupted
	} else if run.ErrorJSON != nil {
		value += " " + *run.ErrorJSON
	}
	a.f.ledger.Add(rig.Entry{Kind: rig.EntryAck, Run: a.id, Method: ackResult, Value: value, Payload: run.Output})
	return value, nil
}
