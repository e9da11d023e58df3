package rpc

import (
	"context"
	"math"
	"net/url"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// There is no browser behind this gateway. The methods check what they are sent as the
// protocol wants it, so that a mistake is told as one, and then say that there is no
// such session or, to whoever wants one, that browsers are not configured.
const (
	noBrowser        = "Browser sessions are not configured on this gateway."
	noBrowserSession = "Browser session not found."
	blockedAddress   = "Private and loopback destinations are not allowed."
	maxViewWidth     = 3_840
	maxViewHeight    = 2_160
)

func badBrowser(format string, args ...any) *wire.Error {
	return wire.Errorf(wire.CodeInvalidRequestCamel, format, args...)
}

// strictly refuses parameters that are not among those allowed.
func (p params) strictly(allowed ...string) *wire.Error {
	if key, found := p.unexpected(allowed); found {
		return badBrowser("Unexpected browser parameter: %s", key)
	}
	return nil
}

// session reads the sessionId that most browser methods require.
func (p params) session(allowed ...string) (string, *wire.Error) {
	if werr := p.strictly(append(allowed, "sessionId")...); werr != nil {
		return "", werr
	}
	return p.required("sessionId")
}

func (p params) required(name string) (string, *wire.Error) {
	text := p.str(name)
	if text == "" {
		return "", badBrowser("%s is required.", name)
	}
	return text, nil
}

func (r *Router) listBrowserSessions(_ context.Context, _ *Call, p params) (any, error) {
	if werr := p.strictly(); werr != nil {
		return nil, werr
	}
	return []struct{}{}, nil
}

func (r *Router) createBrowserSession(_ context.Context, _ *Call, p params) (any, error) {
	werr := p.strictly("source", "viewport")
	if werr == nil {
		werr = checkSource(p.object("source"))
	}
	if werr == nil {
		werr = checkViewport(p)
	}
	if werr == nil {
		werr = badBrowser(noBrowser)
	}
	return nil, werr
}

func checkSource(source params) *wire.Error {
	if source == nil {
		return badBrowser("source is required.")
	}
	switch source.str("kind") {
	case "url":
		if werr := source.strictly("kind", "url"); werr != nil {
			return werr
		}
		address, werr := source.required("url")
		if werr != nil {
			return werr
		}
		return checkAddress(address)
	case "dev-server":
		if werr := source.strictly("kind", "port", "path"); werr != nil {
			return werr
		}
		if port, ok := source.within("port", 0, 1, math.MaxUint16); !ok || port == 0 {
			return badBrowser("port must be an integer from 1 to 65535.")
		}
		return nil
	}
	return badBrowser("source.kind must be url or dev-server.")
}

// checkAddress refuses what no browser of a gateway may be sent to.
func checkAddress(address string) *wire.Error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return badBrowser("url must be an http or https address.")
	}
	if privateHost(u.Hostname()) {
		return wire.Errorf(wire.CodeSSRFBlocked, blockedAddress)
	}
	return nil
}

func checkViewport(p params) *wire.Error {
	raw, given := p["viewport"]
	if !given || string(raw) == "null" {
		return nil
	}
	viewport := p.object("viewport")
	if viewport == nil {
		return badBrowser("viewport must be an object.")
	}
	if werr := viewport.strictly("width", "height"); werr != nil {
		return werr
	}
	if width, ok := viewport.within("width", 0, 1, maxViewWidth); !ok || width == 0 {
		return badBrowser("viewport.width must be an integer from 1 to %d.", maxViewWidth)
	}
	if height, ok := viewport.within("height", 0, 1, maxViewHeight); !ok || height == 0 {
		return badBrowser("viewport.height must be an integer from 1 to %d.", maxViewHeight)
	}
	return nil
}

func (r *Router) browserAct(_ context.Context, _ *Call, p params) (any, error) {
	_, werr := p.session("actionId", "expectedRevision", "action")
	if werr == nil {
		_, werr = p.required("actionId")
	}
	if werr == nil {
		if _, ok := p.within("expectedRevision", 0, 0, math.MaxInt32); !ok {
			werr = badBrowser("expectedRevision must be a non-negative integer.")
		}
	}
	if werr == nil {
		werr = checkAction(p.object("action"))
	}
	if werr == nil {
		werr = badBrowser(noBrowserSession)
	}
	return nil, werr
}

// actionFields are the members that each kind of action may have beside its kind.
var actionFields = map[string][]string{
	"navigate": {"url"}, "back": nil, "forward": nil, "reload": nil, "stop": nil,
	"click": {"locator", "point", "button", "modifiers"}, "type": {"locator", "text", "replace"},
	"press": {"key", "modifiers"}, "scroll": {"deltaX", "deltaY"}, "dialog": {"decision", "promptText"},
}

func checkAction(action params) *wire.Error {
	if action == nil {
		return badBrowser("action is required.")
	}
	kind := action.str("kind")
	fields, known := actionFields[kind]
	if !known {
		return badBrowser("action.kind is not known.")
	}
	if werr := action.strictly(append(slices.Clone(fields), "kind")...); werr != nil {
		return werr
	}
	switch kind {
	case "navigate":
		address, werr := action.required("url")
		if werr != nil {
			return werr
		}
		return checkAddress(address)
	case "click":
		if (action.object("locator") == nil) == (action.object("point") == nil) {
			return badBrowser("click takes either a locator or a point.")
		}
	case "type":
		if _, ok := action.text("text"); !ok || action.object("locator") == nil {
			return badBrowser("type takes a locator and a text.")
		}
	case "press":
		_, werr := action.required("key")
		return werr
	case "scroll":
		_, x := action.number("deltaX")
		_, y := action.number("deltaY")
		if !x || !y {
			return badBrowser("scroll takes deltaX and deltaY.")
		}
	case "dialog":
		if d := action.str("decision"); d != "accept" && d != "dismiss" {
			return badBrowser("decision must be accept or dismiss.")
		}
	}
	return nil
}

func (r *Router) browserContext(_ context.Context, _ *Call, p params) (any, error) {
	_, werr := p.session("sinceRevision", "include")
	if werr == nil {
		werr = badBrowser(noBrowserSession)
	}
	return nil, werr
}

func (r *Router) browserPick(_ context.Context, _ *Call, p params) (any, error) {
	_, werr := p.session("point")
	if werr == nil {
		point := p.object("point")
		_, x := point.number("x")
		_, y := point.number("y")
		if !x || !y {
			werr = badBrowser("point is required.")
		}
	}
	if werr == nil {
		werr = badBrowser(noBrowserSession)
	}
	return nil, werr
}

// closeBrowserSession is content when there is nothing to close.
func (r *Router) closeBrowserSession(_ context.Context, _ *Call, p params) (any, error) {
	if _, werr := p.session(); werr != nil {
		return nil, werr
	}
	return wire.BrowserClosed{Closed: true}, nil
}
