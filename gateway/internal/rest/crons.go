package rest

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

const touchesCron = store.CollectionCrons | touchesLaunch

var cronRoutes = []route{
	{http.MethodGet, "crons", listCrons},
	{http.MethodPost, "crons", func(c *call) ([]byte, *failure) { return c.change("cronCreate", c.body, touchesCron) }},
	{http.MethodPost, "crons/run", func(c *call) ([]byte, *failure) { return c.change(wire.MethodCronRun, c.body, touchesCron) }},
	{http.MethodDelete, "crons/{cron}", func(c *call) ([]byte, *failure) {
		return c.change("cronDelete", params{"cronId": c.vars["cron"]}, touchesCron)
	}},
}

// listCrons honours the filter that its query names (Q43).
func listCrons(c *call) ([]byte, *failure) {
	filter := params{}
	c.text(filter, "workflow")
	return c.read("cronList", params{"filter": filter})
}
