package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var errHost = wire.Errorf(wire.CodeUnauthorized, "Host is not allowed")

// checkOrigins is the rule of every mode that has credentials: a listed origin, or
// any when none is listed; and with a cookie as the only credential a listed one or
// the gateway's own, because browsers send cookies on behalf of anybody.
func checkOrigins(r *http.Request, origins []string, cookieOnly bool) *wire.Error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	listed := slices.Contains(origins, origin)
	if len(origins) > 0 && !listed {
		return errOrigin
	}
	// "null" comes from sandboxed frames and redirects, so it proves nothing (Q40).
	if cookieOnly && !listed && !sameHost(origin, r.Host) {
		return errCookieOrigin
	}
	return nil
}

// checkLoopback is the rule of the mode without credentials: what a browser was
// lured to send here (by a foreign page, or by a name that resolves to loopback) is
// refused.
func checkLoopback(r *http.Request) *wire.Error {
	if r.Host != "" && !loopbackHost(r.Host) {
		return errHost
	}
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "null" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !loopbackHost(u.Host) {
		return errOrigin
	}
	return nil
}

// loopbackHost reports whether a host, with or without a port, is this machine by
// its very name: nothing is resolved.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
