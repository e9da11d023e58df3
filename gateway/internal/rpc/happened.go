package rpc

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxErrorShown bounds the error in a summary, in characters.
const maxErrorShown = 400

// whatHappened tells the facts of a run or of one of its nodes in a sentence. There is
// no narrator, so agentId is null and source "facts".
func (r *Router) whatHappened(ctx context.Context, _ *Call, p params) (any, error) {
	runID := p.str("runId")
	if werr := wire.CheckRunID(runID); werr != nil {
		return nil, werr
	}
	nodeID, scoped := p.text("nodeId")
	if scoped {
		if werr := wire.CheckNodeID(nodeID); werr != nil {
			return nil, werr
		}
	}
	iteration, werr := p.optionalIteration()
	if werr != nil {
		return nil, werr
	}
	h := &wire.Happened{RunID: runID, Scope: "run", Source: "facts"}
	fingerprint := ""
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		run, err := loadRun(v, runID, runNotFound)
		if err != nil {
			return err
		}
		if !scoped {
			h.Summary, fingerprint = r.runFacts(run)
			return nil
		}
		n, err := nodeAt(v, runID, nodeID, iteration)
		if err != nil {
			return err
		}
		h.Scope, h.NodeID, h.Iteration = "node", &n.NodeID, &n.Iteration
		h.Summary, fingerprint, err = r.nodeFacts(v, runID, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	h.GeneratedAtMs = r.now().UnixMilli()
	if fingerprint != "" {
		key := strings.Join([]string{runID, h.Scope, nodeID, fmt.Sprint(iterationOf(h)), fingerprint}, "\x00")
		h.GeneratedAtMs, h.Cached = r.told.remember(key, h.GeneratedAtMs)
	}
	return h, nil
}

// optionalIteration reads a number or a text of digits; -1 when there is none.
func (p params) optionalIteration() (int, *wire.Error) {
	raw, given := p["iteration"]
	if !given || string(raw) == "null" {
		return -1, nil
	}
	f, ok := p.number("iteration")
	if s, isText := p.text("iteration"); isText && s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		f, ok = float64(n), err == nil
	}
	if !ok || f < 0 || f > math.MaxInt32 || f != math.Trunc(f) {
		return 0, wire.Errorf(wire.CodeInvalidIteration, "iteration must be a non-negative 32-bit integer.")
	}
	return int(f), nil
}

// nodeAt finds a node by id and iteration, -1 meaning its highest.
func nodeAt(v *store.View, runID, nodeID string, iteration int) (*store.Node, error) {
	nodes, err := v.NodeStates(runID)
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(nodes, func(n *store.Node) bool {
		return n.NodeID != nodeID || n.Kind == string(program.KindEffect)
	})
	if len(nodes) == 0 {
		return nil, wire.Errorf(wire.CodeNodeNotFound, "Node not found: %s", nodeID)
	}
	if iteration < 0 {
		return slices.MaxFunc(nodes, func(a, b *store.Node) int { return a.Iteration - b.Iteration }), nil
	}
	i := slices.IndexFunc(nodes, func(n *store.Node) bool { return n.Iteration == iteration })
	if i < 0 {
		return nil, wire.Errorf(wire.CodeIterationNotFound, "Iteration not found: %d", iteration)
	}
	return nodes[i], nil
}

// runFacts tells of a run. The fingerprint is "" while it has not ended.
func (r *Router) runFacts(run *store.Run) (summary, fingerprint string) {
	end := run.FinishedAtMs
	if wire.RunTerminal(run.Status) {
		fingerprint = fmt.Sprint(run.Status, run.FinishedAtMs, run.Generation)
	} else {
		end = r.now().UnixMilli()
	}
	summary = fmt.Sprintf("Run %s (%s) %s in %s.", run.RunID, run.WorkflowName, run.Status, lasted(run.StartedAtMs, end))
	if f := r.scrub.decode(run.Error); f != nil {
		summary += "\n- run error: " + firstChars(f.Message, maxErrorShown)
	}
	return summary, fingerprint
}

// nodeFacts tells of a node over all its attempts.
func (r *Router) nodeFacts(v *store.View, runID string, n *store.Node) (summary, fingerprint string, err error) {
	attempts, err := v.Attempts(runID, n.NodeID, n.Iteration)
	if err != nil {
		return "", "", err
	}
	var from, to int64
	for _, a := range attempts {
		if from == 0 || a.StartedAtMs < from {
			from = a.StartedAtMs
		}
		to = max(to, a.FinishedAtMs)
	}
	if wire.NodeEnded(n.State) {
		fingerprint = fmt.Sprint(n.State, n.Attempt, n.UpdatedAtMs)
	} else if from != 0 {
		to = r.now().UnixMilli()
	}
	plural := "s"
	if len(attempts) == 1 {
		plural = ""
	}
	summary = fmt.Sprintf("Node %q %s after %d attempt%s in %s.", n.NodeID, n.State, len(attempts), plural, lasted(from, to))
	if f := r.scrub.decode(n.Error); f != nil {
		summary += "\n- error: " + firstChars(f.Message, maxErrorShown)
	}
	return summary, fingerprint, nil
}

// lasted is a duration as people read it: 436ms, 3.1s, 2m 5s.
func lasted(fromMs, toMs int64) string {
	ms := toMs - fromMs
	switch {
	case fromMs == 0 || toMs == 0 || ms < 0:
		return "unknown"
	case ms < 1000:
		return strconv.FormatInt(ms, 10) + "ms"
	case ms < 60_000:
		return strconv.FormatFloat(float64(ms)/1000, 'f', 1, 64) + "s"
	}
	return fmt.Sprintf("%dm %ds", ms/60_000, ms%60_000/1000)
}

func firstChars(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}

// maxTold is how many summaries of ended runs and nodes are remembered.
const maxTold = 200

// told remembers when the facts of something that has ended were first told. What
// changes afterwards, as by a retry, has another key.
type told struct {
	mu    sync.Mutex
	at    map[string]int64
	order []string
}

// remember returns when key was first told, and whether that was before now.
func (t *told) remember(key string, nowMs int64) (atMs int64, before bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at, ok := t.at[key]; ok {
		return at, true
	}
	if t.at == nil {
		t.at = make(map[string]int64, maxTold)
	}
	if len(t.order) == maxTold {
		delete(t.at, t.order[0])
		t.order = t.order[1:]
	}
	t.at[key], t.order = nowMs, append(t.order, key)
	return nowMs, false
}

func iterationOf(h *wire.Happened) int {
	if h.Iteration == nil {
		return -1
	}
	return *h.Iteration
}
