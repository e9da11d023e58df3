package wsconn

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// readBuffer is that of a socket. Most requests fit.
const readBuffer = 1 << 10

// Texts of refusals that the protocol does not word.
const (
	refusalCONNECT  = "WebSockets over HTTP/2 and HTTP/3 are not supported; connect with HTTP/1.1\n"
	refusalDraining = "Gateway is shutting down\n"
)

// ServeHTTP answers an upgrade request: with a refusal in plain text, or by making
// it a socket and returning. The socket lives on in goroutines of the registry.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request, site Site) {
	c, reason := r.upgrade(w, req, site)
	if c == nil {
		r.metrics.Refused(reason)
		if site.Done != nil {
			site.Done()
		}
		return
	}
	r.metrics.Opened()
	go c.serve()
}

func (r *Registry) upgrade(w http.ResponseWriter, req *http.Request, site Site) (*conn, string) {
	if req.Method == http.MethodConnect {
		refuse(w, req, http.StatusNotImplemented, refusalCONNECT)
		return nil, RefusedProtocol
	}
	addr := auth.AddressKey(hostOf(site.ClientAddr, req.RemoteAddr))
	if reason := r.admit(addr); reason != "" {
		text := wire.RefusalLimit
		if reason == RefusedDraining {
			text = refusalDraining
		}
		refuse(w, req, http.StatusServiceUnavailable, text)
		return nil, reason
	}
	if err := site.Auth.CheckOrigin(req); err != nil {
		r.leave(addr, false)
		refuse(w, req, http.StatusForbidden, wire.RefusalOrigin)
		return nil, RefusedOrigin
	}
	h := &hijacker{ResponseWriter: w, timeout: r.writeTimeout}
	up := websocket.Upgrader{
		ReadBufferSize:  readBuffer,
		WriteBufferPool: noBuffers{},
		CheckOrigin:     func(*http.Request) bool { return true }, // done above
		Error: func(w http.ResponseWriter, req *http.Request, status int, reason error) {
			w.Header().Set("Sec-WebSocket-Version", "13")
			refuse(w, req, status, reason.Error()+"\n")
		},
	}
	header := http.Header{wire.HeaderAPIVersion: {wire.APIVersion}}
	if offered := websocket.Subprotocols(req); len(offered) > 0 {
		header.Set("Sec-WebSocket-Protocol", offered[0])
	}
	ws, err := up.Upgrade(h, anyVersion(req), header)
	if err != nil {
		r.leave(addr, false)
		if h.conn != nil {
			h.conn.drop()
		}
		return nil, RefusedHandshake
	}
	c := r.newConn(ws, h.conn, lightRequest(req, site.Context), site)
	c.ctx, c.cancel = context.WithCancel(r.deps.Tracer.Socket(context.Background(), req.Context()))
	if !r.add(c) { // a drain began meanwhile
		r.leave(addr, false)
		h.conn.drop()
		return nil, RefusedDraining
	}
	return c, ""
}

func refuse(w http.ResponseWriter, req *http.Request, status int, text string) {
	h := w.Header()
	if req.ProtoMajor < 2 {
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set(wire.HeaderAPIVersion, wire.APIVersion)
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the peer may be gone
}

// anyVersion makes the library overlook Sec-WebSocket-Version, which the protocol
// does not enforce.
func anyVersion(req *http.Request) *http.Request {
	if req.Header.Get("Sec-WebSocket-Version") == "13" {
		return req
	}
	c := *req
	c.Header = req.Header.Clone()
	c.Header.Set("Sec-WebSocket-Version", "13")
	return &c
}

// lightRequest keeps what authentication may look at when connect comes, and lets
// go of the rest: the server's buffers, the context chain, headers nobody asks for.
func lightRequest(req *http.Request, ctx context.Context) *http.Request {
	if ctx == nil {
		ctx = context.Background()
	}
	light := (&http.Request{
		Method: req.Method, URL: req.URL, Proto: req.Proto, ProtoMajor: req.ProtoMajor, ProtoMinor: req.ProtoMinor,
		Host: req.Host, RemoteAddr: req.RemoteAddr, RequestURI: req.RequestURI, TLS: req.TLS,
		Header: make(http.Header, 8),
	}).WithContext(ctx)
	for k, v := range req.Header {
		switch {
		case k == "User-Agent", k == "Connection", k == "Upgrade", k == "Pragma", k == "Cache-Control",
			strings.HasPrefix(k, "Sec-"), strings.HasPrefix(k, "Accept"):
		default:
			light.Header[k] = v
		}
	}
	return light
}

// hostOf is the client's address without a port.
func hostOf(client, remote string) string {
	if client == "" {
		client = remote
	}
	if host, _, err := net.SplitHostPort(client); err == nil {
		return host
	}
	return client
}
