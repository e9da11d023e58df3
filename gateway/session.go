package gateway

import (
	"crypto/rand"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
)

const sessionPath = "/v1/auth/session"

// serveSession turns a bearer token into the cookie that browsers need for pages and
// event streams, and goes on to another page of this site.
func (h *handler) serveSession(w http.ResponseWriter, r *http.Request, run *running) {
	query := r.URL.Query()
	token := query.Get("token")
	site := meteredAuth{run.authenticator(h.site, r), run.metrics, rpc.TransportHTTP}
	if _, err := site.Authenticate(r, token); err != nil {
		h.failure(w, uuid.NewString(), err)
		return
	}
	mode := run.mode.Load().name
	if token == "" && mode != AuthProxy {
		token, _ = auth.TokenFromRequest(r)
	}
	if token != "" && mode != AuthNone {
		w.Header().Set("Set-Cookie", sessionCookie(r, token))
	}
	next := localTarget(query.Get("next"))
	quoted, err := json.Marshal(next) // escapes what could end the script
	if err != nil {
		quoted = []byte(`"/"`)
	}
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", contentPolicy+"; script-src 'nonce-"+nonce+"'")
	h.write(w, http.StatusOK, "text/html; charset=utf-8", []byte(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=`+html.EscapeString(next)+`">
<title>Signing in</title>
<script nonce="`+nonce+`">location.replace(`+string(quoted)+`);</script>
</head>
<body><p><a href="`+html.EscapeString(next)+`">Continue</a></p></body>
</html>
`))
}

// sessionCookie is valid as long as the token in it.
func sessionCookie(r *http.Request, token string) string {
	cookie := auth.CookieName(r.Host) + "=" + url.PathEscape(token) + "; HttpOnly; Path=/; SameSite=Lax"
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if r.TLS != nil || strings.EqualFold(strings.TrimSpace(forwarded), "https") {
		cookie += "; Secure"
	}
	return cookie
}

// localTarget returns a target on this site: whatever a browser could read as another
// one becomes "/".
func localTarget(next string) string {
	odd := func(r rune) bool { return r == '\\' || unicode.IsControl(r) || unicode.IsSpace(r) }
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil ||
		strings.HasPrefix(next, "//") || strings.ContainsFunc(next, odd) {
		return "/"
	}
	target := (&url.URL{Path: "/"}).ResolveReference(u)
	if !strings.HasPrefix(target.Path, "/") || strings.HasPrefix(target.Path, "//") || strings.ContainsFunc(target.Path, odd) {
		return "/"
	}
	return target.String()
}
