package rest

import "net/http"

var scoreRoutes = []route{
	{http.MethodGet, "scores", listScores},
	{http.MethodGet, "scores/compare", compareScores},
	{http.MethodGet, "scores/{run}/{score}", func(c *call) ([]byte, *failure) {
		return c.read("getScoreDetail", params{"runId": c.vars["run"], "scoreId": c.vars["score"]})
	}},
}

func listScores(c *call) ([]byte, *failure) {
	p := params{}
	c.text(p, "runId", "nodeId")
	return c.read("listScores", p)
}

func compareScores(c *call) ([]byte, *failure) {
	ids := []string{}
	for _, id := range c.query["runId"] {
		if id != "" {
			ids = append(ids, id)
		}
	}
	p := params{"runIds": ids}
	c.text(p, "nodeId", "scorerId", "scorerName", "source", "order")
	if failed := c.positive(p, "limit"); failed != nil {
		return nil, failed
	}
	offset, failed := c.whole("offset", 0)
	if failed != nil {
		return nil, failed
	}
	p["offset"] = offset
	return c.read("listScoresForRuns", p)
}
