package rest

import "net/http"

var memoryRoutes = []route{{http.MethodGet, "memory-facts", func(c *call) ([]byte, *failure) {
	p := params{}
	c.text(p, "namespace")
	return c.read("listMemoryFacts", p)
}}}
