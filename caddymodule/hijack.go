package caddymodule

import (
	"bufio"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// plainHijack lets the gateway take over the connection itself. Caddy's recorder
// would hand out a connection that counts bytes into fields which the access log
// reads as soon as the handler returns: a data race, as sockets live on.
type plainHijack struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (w plainHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	inner := w.ResponseWriter
	for {
		_, recorder := inner.(caddyhttp.ResponseRecorder)
		if _, able := inner.(http.Hijacker); able && !recorder {
			break
		}
		wrapper, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		inner = wrapper.Unwrap()
	}
	return http.NewResponseController(inner).Hijack()
}

// Unwrap gives http.ResponseController the rest.
func (w plainHijack) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Interface guards.
var _ http.Hijacker = plainHijack{}
