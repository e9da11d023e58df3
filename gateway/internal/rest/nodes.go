package rest

import (
	"net/http"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Nodes are addressed in two ways.
var nodeRoutes = slices.Concat(nodesBelow("nodes/{run}/{node}"), nodesBelow("runs/{run}/nodes/{node}"))

func nodesBelow(path string) []route {
	return []route{
		{http.MethodGet, path + "/output", readNode(wire.MethodGetNodeOutput)},
		{http.MethodGet, path + "/diff", readNode("getNodeDiff")},
		{http.MethodPost, path + "/retry", retryNode},
	}
}

// readNode reads the first iteration unless the query names another.
func readNode(method string) func(*call) ([]byte, *failure) {
	return func(c *call) ([]byte, *failure) {
		iteration, failed := c.whole("iteration", 0)
		if failed != nil {
			return nil, failed
		}
		return c.read(method, params{"runId": c.vars["run"], "nodeId": c.vars["node"], "iteration": iteration})
	}
}

func retryNode(c *call) ([]byte, *failure) {
	return c.change(wire.MethodRetryTask, c.with("runId", c.vars["run"], "nodeId", c.vars["node"]), store.CollectionRuns)
}
