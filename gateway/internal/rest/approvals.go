package rest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var approvalRoutes = []route{
	{http.MethodGet, "approvals", listApprovals},
	{http.MethodPost, "approvals/{approval}", submitApproval},
}

const touchesDecision = store.CollectionApprovals | touchesLaunch | store.CollectionNodes

func listApprovals(c *call) ([]byte, *failure) {
	p := params{}
	if failed := c.positive(p, "limit"); failed != nil {
		return nil, failed
	}
	c.text(p, "runId", "workflow")
	data, failed := c.dispatch(wire.MethodListApprovals, p)
	if failed != nil {
		return nil, failed
	}
	return envelope(withoutNulls(data, "requestTitle", "requestSummary", "autoApprove")), nil
}

// withoutNulls drops members of the rows that are null.
func withoutNulls(data json.RawMessage, names ...string) json.RawMessage {
	var rows []map[string]json.RawMessage
	if json.Unmarshal(data, &rows) != nil {
		return data
	}
	for _, row := range rows {
		for _, name := range names {
			if string(row[name]) == "null" {
				delete(row, name)
			}
		}
	}
	if rows == nil {
		return data
	}
	shown, err := json.Marshal(rows)
	if err != nil {
		return data
	}
	return shown
}

// submitApproval decides the gate that the path names as <run>:<node>:<iteration>;
// members of the body win. The result says what was decided (Q42).
func submitApproval(c *call) ([]byte, *failure) {
	if failed := c.allow(wire.MethodSubmitApproval); failed != nil {
		return nil, failed
	}
	gate, found, failed := c.gate(c.vars["approval"])
	if failed != nil {
		return nil, failed
	}
	if found {
		for name, value := range (params{"runId": gate.run, "nodeId": gate.node, "iteration": gate.iteration}) {
			if _, given := c.body[name]; !given {
				c.body[name] = value
			}
		}
	}
	data, failed := c.dispatch(wire.MethodSubmitApproval, c.body)
	if failed != nil {
		return nil, failed
	}
	if len(data) > 1 && data[0] == '{' {
		data = append(append(json.RawMessage{}, data[:len(data)-1]...), `,"requestedAtMs":null}`...)
	}
	return c.changed(data, touchesDecision), nil
}

type gateID struct {
	run, node string
	iteration int
}

// gate reads an approval's id from the right, since the ids of child runs have colons
// of their own (Q45). Those of nodes may, too: of all ways to read the id, the one that
// names an approval there is wins, else the one with the shortest node.
func (c *call) gate(id string) (g gateID, found bool, _ *failure) {
	ways := splitGate(id)
	if len(ways) == 0 {
		return g, false, nil
	}
	g = ways[0]
	if len(ways) == 1 {
		return g, true, nil
	}
	err := c.api.deps.Store.View(c.ctx, func(v *store.View) error {
		for _, way := range ways {
			if _, err := v.Approval(way.run, way.node, way.iteration); err == nil {
				g = way
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return g, false, unreadable()
	}
	return g, true, nil
}

// maxWays bounds how many readings of an id are tried.
const maxWays = 16

func splitGate(id string) (ways []gateID) {
	at := strings.LastIndexByte(id, ':')
	if at < 0 {
		return nil
	}
	iteration, err := strconv.ParseUint(id[at+1:], 10, 31)
	if err != nil {
		return nil
	}
	key := id[:at]
	for i := len(key) - 1; i > 0 && len(ways) < maxWays; i-- {
		if key[i] == ':' && i < len(key)-1 {
			ways = append(ways, gateID{run: key[:i], node: key[i+1:], iteration: int(iteration)})
		}
	}
	return ways
}
