package rest

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var workflowRoutes = []route{
	{http.MethodGet, "workflows", func(c *call) ([]byte, *failure) {
		p := params{}
		c.flag(p, "hasUi", "includeSystem")
		return c.read(wire.MethodListWorkflows, p)
	}},
	{http.MethodGet, "schema-signature", func(c *call) ([]byte, *failure) { return c.read("getSchemaSignature", nil) }},
}
