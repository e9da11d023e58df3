package rest

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

const touchesTicket = store.CollectionTickets | store.CollectionDocs

// The path of a ticket may hold slashes, as they are or encoded.
var ticketRoutes = []route{
	{http.MethodGet, "tickets", listTickets},
	{http.MethodPost, "tickets", func(c *call) ([]byte, *failure) { return c.change("createTicket", c.body, touchesTicket) }},
	{http.MethodPatch, "tickets/{path...}", updateTicket},
	{http.MethodPut, "tickets/{path...}", updateTicket},
	{http.MethodDelete, "tickets/{path...}", func(c *call) ([]byte, *failure) {
		return c.change("deleteTicket", params{"path": c.vars["path"]}, touchesTicket)
	}},
}

func listTickets(c *call) ([]byte, *failure) {
	p := params{}
	c.text(p, "kind")
	return c.read("listTickets", p)
}

func updateTicket(c *call) ([]byte, *failure) {
	return c.change("updateTicket", c.with("path", c.vars["path"]), touchesTicket)
}
