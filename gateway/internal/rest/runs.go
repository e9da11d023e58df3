package rest

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// What the mutations of runs change, beside what they commit.
const (
	touchesLaunch = store.CollectionRuns | store.CollectionRunEvents
	touchesRun    = touchesLaunch | store.CollectionNodes | store.CollectionNodeOutputs
)

var runRoutes = []route{
	{http.MethodGet, "runs", listRuns},
	{http.MethodPost, "runs", launchRun},
	{http.MethodGet, "runs/{run}", readRun(wire.MethodGetRun)},
	{http.MethodPost, "runs/{run}/cancel", controlRun(wire.MethodCancelRun)},
	{http.MethodPost, "runs/{run}/resume", controlRun(wire.MethodResumeRun)},
	{http.MethodPost, "runs/{run}/rewind", controlRun(wire.MethodRewindRun)},
	{http.MethodPost, "runs/{run}/pause", changeRun(wire.MethodPauseRun)},
	{http.MethodPost, "runs/{run}/hijack", changeRun("hijackRun")},
	{http.MethodGet, "runs/{run}/node-states", readRun(wire.MethodListNodeStates)},
	{http.MethodGet, "runs/{run}/token-usage", readRun("listRunTokenUsage")},
	{http.MethodGet, "runs/{run}/descendants", listDescendants},
	{http.MethodGet, "runs/{run}/tree", devTools},
	{http.MethodGet, "runs/{run}/devtools", devTools},
	{http.MethodGet, "runs/{run}/hijack-candidates", hijackCandidates},
	{http.MethodPost, "runs/{run}/oneshot-monitor/attach", monitor("oneshotMonitorAttach")},
	{http.MethodPost, "runs/{run}/oneshot-monitor/steer", monitor("oneshotMonitorSteer")},
	{http.MethodPost, "runs/{run}/oneshot-monitor/restart", monitor("oneshotMonitorRestart")},
}

func listRuns(c *call) ([]byte, *failure) {
	filter := params{}
	if failed := c.positive(filter, "limit"); failed != nil {
		return nil, failed
	}
	offset, failed := c.whole("offset", 0)
	if failed != nil {
		return nil, failed
	}
	filter["offset"] = offset
	c.text(filter, "status", "workflow", "parentRunId")
	c.flag(filter, "includeSystem")
	return c.read(wire.MethodListRuns, params{"filter": filter})
}

// launchRun also takes the workflow under the names that browser clients use.
func launchRun(c *call) ([]byte, *failure) {
	for _, name := range []string{"workflowKey", "workflowId"} {
		if !isText(c.body["workflow"]) && isText(c.body[name]) {
			c.body["workflow"] = c.body[name]
		}
	}
	if c.body["input"] == nil {
		c.body["input"] = params{}
	}
	return c.change(wire.MethodLaunchRun, c.body, touchesLaunch)
}

func isText(v any) bool {
	raw, ok := v.(json.RawMessage)
	return ok && len(raw) > 2 && raw[0] == '"'
}

func readRun(method string) func(*call) ([]byte, *failure) {
	return func(c *call) ([]byte, *failure) { return c.read(method, params{"runId": c.vars["run"]}) }
}

func changeRun(method string) func(*call) ([]byte, *failure) {
	return func(c *call) ([]byte, *failure) {
		return c.change(method, c.with("runId", c.vars["run"]), store.CollectionRuns)
	}
}

// controlRun adds to the result whether the run is a system one, truly so (Q42).
func controlRun(method string) func(*call) ([]byte, *failure) {
	return func(c *call) ([]byte, *failure) {
		data, failed := c.dispatch(method, c.with("runId", c.vars["run"]))
		if failed != nil {
			return nil, failed
		}
		return c.changed(c.withSystem(data), touchesRun), nil
	}
}

func (c *call) withSystem(data json.RawMessage) json.RawMessage {
	system := false
	err := c.api.deps.Store.View(c.ctx, func(v *store.View) error {
		run, err := v.Run(c.vars["run"])
		if err == nil {
			system = run.System
		}
		return err
	})
	if err != nil || len(data) < 2 || data[0] != '{' {
		return data // the change is done; what cannot be added is left out
	}
	member := `,"system":false}`
	if system {
		member = `,"system":true}`
	}
	return append(append(json.RawMessage{}, data[:len(data)-1]...), member...)
}

func listDescendants(c *call) ([]byte, *failure) {
	p := params{"runId": c.vars["run"]}
	if failed := c.positive(p, "limit"); failed != nil {
		return nil, failed
	}
	return c.read("listRunDescendants", p)
}

func devTools(c *call) ([]byte, *failure) {
	p := params{"runId": c.vars["run"]}
	if c.query.Get("frameNo") != "" {
		frame, failed := c.whole("frameNo", 0)
		if failed != nil {
			return nil, failed
		}
		p["frameNo"] = frame
	}
	return c.read("getDevToolsSnapshot", p)
}

// hijackCandidates is always empty: no agent session of this gateway can be resumed by
// hand.
func hijackCandidates(c *call) ([]byte, *failure) {
	if failed := c.allow(wire.MethodGetRun); failed != nil {
		return nil, failed
	}
	id := c.vars["run"]
	if failed := c.exists(id, &failure{err: wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", id), methods: true}); failed != nil {
		return nil, failed
	}
	data, err := json.Marshal(params{"runId": id, "candidates": []any{}})
	if err != nil {
		return nil, own(wire.Errorf(wire.CodeServerError, "The answer cannot be shown."))
	}
	return envelope(data), nil
}

// exists fails with missing when there is no such run.
func (c *call) exists(runID string, missing *failure) *failure {
	err := c.api.deps.Store.View(c.ctx, func(v *store.View) error {
		_, err := v.Run(runID)
		return err
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return missing
	}
	return unreadable()
}

func unreadable() *failure {
	return own(wire.Errorf(wire.CodeStorageUnavailable, "The gateway cannot read its database right now; try again.").With("retryable", true))
}

func monitor(method string) func(*call) ([]byte, *failure) {
	return func(c *call) ([]byte, *failure) {
		if failed := c.allow(method); failed != nil {
			return nil, failed
		}
		return nil, &failure{err: wire.Errorf("InvalidInput", "Oneshot monitor controls are not configured"), methods: true}
	}
}
