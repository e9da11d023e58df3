package rest

import "net/http"

var accountRoutes = []route{
	{http.MethodGet, "accounts", func(c *call) ([]byte, *failure) { return c.read("listAccounts", nil) }},
	{http.MethodGet, "usage", func(c *call) ([]byte, *failure) {
		p := params{}
		c.flag(p, "fresh")
		return c.read("listUsageReports", p)
	}},
}
