package gateway

import (
	"html"
	"net/http"
)

// serveIndex tells a person who opens the gateway in a browser what it is. It shows
// nothing that needs a token.
func (h *handler) serveIndex(w http.ResponseWriter) {
	p := html.EscapeString(h.site.Prefix)
	w.Header().Set("Content-Security-Policy", contentPolicy+"; style-src 'unsafe-inline'")
	h.write(w, http.StatusOK, "text/html; charset=utf-8", []byte(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Smithers Gateway</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}code{background:#8883;padding:.1em .3em;border-radius:.2em}</style>
</head><body>
<h1>Smithers Gateway</h1>
<p>This is a gateway for durable workflow runs, version <code>`+html.EscapeString(Version)+`</code>, speaking protocol <code>v1</code>.
It works; there is nothing to look at in a browser.</p>
<ul>
<li><a href="./health">health</a>, for people and load balancers</li>
<li><code>POST `+p+`/v1/rpc/{method}</code> with <code>Authorization: Bearer &lt;token&gt;</code>, for scripts</li>
<li>a WebSocket on <code>`+p+`/</code>, for clients that stream</li>
</ul>
</body></html>
`))
}
