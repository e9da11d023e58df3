package rest

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var signalRoutes = []route{{http.MethodPost, "signals", func(c *call) ([]byte, *failure) {
	return c.change(wire.MethodSubmitSignal, c.body, touchesLaunch|store.CollectionNodes)
}}}
