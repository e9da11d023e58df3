package rest

import "net/http"

var docRoutes = []route{
	{http.MethodGet, "docs", listDocs},
	{http.MethodGet, "prompts", func(c *call) ([]byte, *failure) { return c.read("listPrompts", nil) }},
}

// listDocs keeps the status of documents (Q42).
func listDocs(c *call) ([]byte, *failure) {
	p := params{}
	c.text(p, "kind")
	c.flag(p, "includeDeleted")
	if failed := c.positive(p, "limit"); failed != nil {
		return nil, failed
	}
	after, failed := c.whole("updatedAfterMs", 0)
	if failed != nil {
		return nil, failed
	}
	p["updatedAfterMs"] = after
	return c.read("listDocs", p)
}
