package caddymodule

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/smithersai/caddy-smithers/gateway"
)

// Auth says how callers are known. Text fields may contain placeholders; a secret is
// best given as one, such as {env.JWT_SECRET}.
type Auth struct {
	// "token" (default), "none", "jwt" or "trusted_proxy".
	Mode string `json:"mode,omitempty"`

	// None: lift the rules about Host and Origin, which otherwise must be loopback.
	TrustAnyHost bool `json:"trust_any_host,omitempty"`

	// JWT: the iss claim that tokens must have.
	Issuer string `json:"issuer,omitempty"`
	// JWT: aud claims of which tokens must have one.
	Audience []string `json:"audience,omitempty"`
	// JWT: shared secret of HS256, 32 bytes or more.
	Secret string `json:"secret,omitempty"`
	// JWT: file or https URL of the issuer's public keys, for RS256 and ES256.
	JWKS string `json:"jwks,omitempty"`
	// JWT: accepted algorithms. Default: those that the kind of key allows.
	Algorithms []string `json:"algorithms,omitempty"`
	// JWT: tolerated difference of clocks. Default: 60s.
	Skew *caddy.Duration `json:"skew,omitempty"`
	// JWT: names of claims. Default: scope, role, sub.
	ScopesClaim string `json:"scopes_claim,omitempty"`
	RoleClaim   string `json:"role_claim,omitempty"`
	UserClaim   string `json:"user_claim,omitempty"`

	// Trusted proxy: names of headers. Default: x-user-id, x-user-scopes, x-user-role.
	// They count only in requests from addresses of the server's trusted_proxies.
	UserHeader   string `json:"user_header,omitempty"`
	ScopesHeader string `json:"scopes_header,omitempty"`
	RoleHeader   string `json:"role_header,omitempty"`

	// JWT and trusted proxy: for identities that name none.
	DefaultRole   string   `json:"default_role,omitempty"`
	DefaultScopes []string `json:"default_scopes,omitempty"`
}

// authModes are the modes by their word, with the words that their blocks may hold.
var authModes = map[string]struct {
	mode  string
	words []string
}{
	"token": {gateway.AuthToken, nil},
	"none":  {gateway.AuthNone, []string{"trust_any_host"}},
	"jwt": {gateway.AuthJWT, []string{"issuer", "audience", "secret", "jwks", "algorithms", "skew", "scopes_claim", "role_claim",
		"user_claim", "default_role", "default_scopes"}},
	"trusted_proxy": {gateway.AuthProxy, []string{"user_header", "scopes_header", "role_header", "default_role", "default_scopes"}},
}

// apply lays what is set over the settings.
func (a *Auth) apply(s *gateway.AuthSettings, repl *caddy.Replacer) error {
	if a == nil {
		return nil
	}
	if mode, ok := authModes[a.Mode]; ok {
		s.Mode = mode.mode
	} else {
		s.Mode = a.Mode // the gateway says what is allowed
	}
	s.TrustAnyHost = s.TrustAnyHost || a.TrustAnyHost
	var err error
	for _, t := range []struct {
		word string
		from string
		to   *string
	}{
		{"issuer", a.Issuer, &s.JWT.Issuer}, {"secret", a.Secret, &s.JWT.Secret}, {"jwks", a.JWKS, &s.JWT.JWKS},
		{"scopes_claim", a.ScopesClaim, &s.JWT.ScopesClaim}, {"role_claim", a.RoleClaim, &s.JWT.RoleClaim},
		{"user_claim", a.UserClaim, &s.JWT.UserClaim}, {"user_header", a.UserHeader, &s.Proxy.UserHeader},
		{"scopes_header", a.ScopesHeader, &s.Proxy.ScopesHeader}, {"role_header", a.RoleHeader, &s.Proxy.RoleHeader},
		{"default_role", a.DefaultRole, &s.DefaultRole},
	} {
		if *t.to, err = expand(repl, "auth: "+t.word, t.from); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		word string
		from []string
		to   *[]string
	}{
		{"audience", a.Audience, &s.JWT.Audience}, {"algorithms", a.Algorithms, &s.JWT.Algorithms},
		{"default_scopes", a.DefaultScopes, &s.DefaultScopes},
	} {
		if *l.to, err = expandAll(repl, "auth: "+l.word, l.from); err != nil {
			return err
		}
	}
	if s.JWT.Skew = gateway.DefaultJWTSkew; a.Skew != nil {
		s.JWT.Skew = time.Duration(*a.Skew)
	}
	return nil
}

// readAuth reads auth <mode> { ... }.
func readAuth(d *caddyfile.Dispenser, h *Handler, word string) error {
	if !d.NextArg() {
		return d.Errf("%s: a mode is missing: one of %s", word, modeWords())
	}
	a := &Auth{Mode: strings.ReplaceAll(d.Val(), "-", "_")}
	mode, ok := authModes[a.Mode]
	if !ok {
		return d.Errf("%s: %q is not one of %s", word, d.Val(), modeWords())
	}
	if d.NextArg() {
		return d.Errf("%s: unexpected %q after %q; settings belong in a block { }", word, d.Val(), a.Mode)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		setting := d.Val()
		if !slices.Contains(mode.words, setting) {
			if len(mode.words) == 0 {
				return d.Errf("%s %s takes no settings, but %q follows", word, a.Mode, setting)
			}
			return d.Errf("%s %s: unknown setting %q; allowed are %s", word, a.Mode, setting, strings.Join(mode.words, ", "))
		}
		if err := a.read(d, word+": "+setting, setting); err != nil {
			return err
		}
	}
	h.Auth = a
	return nil
}

func modeWords() string { return strings.Join(slices.Sorted(maps.Keys(authModes)), ", ") }

// read reads one setting of the block.
func (a *Auth) read(d *caddyfile.Dispenser, name, setting string) error {
	texts := map[string]*string{"issuer": &a.Issuer, "secret": &a.Secret, "jwks": &a.JWKS, "scopes_claim": &a.ScopesClaim,
		"role_claim": &a.RoleClaim, "user_claim": &a.UserClaim, "user_header": &a.UserHeader, "scopes_header": &a.ScopesHeader,
		"role_header": &a.RoleHeader, "default_role": &a.DefaultRole}
	lists := map[string]*[]string{"audience": &a.Audience, "algorithms": &a.Algorithms, "default_scopes": &a.DefaultScopes}
	switch {
	case setting == "trust_any_host":
		if d.NextArg() {
			return d.Errf("%s takes no value, but %q follows", name, d.Val())
		}
		a.TrustAnyHost = true
		return nil
	case setting == "skew":
		value, err := one(d, name)
		if err != nil {
			return err
		}
		skew, err := caddy.ParseDuration(value)
		if err != nil || skew < 0 {
			return d.Errf("%s: %q is not a duration such as 30s%s", name, value, hint(value))
		}
		a.Skew = new(caddy.Duration(skew))
		return nil
	case lists[setting] != nil:
		values := d.RemainingArgs()
		if len(values) == 0 {
			return d.Errf("%s: a value is missing", name)
		}
		*lists[setting] = append(*lists[setting], values...)
		return nil
	}
	value, err := one(d, name)
	if err != nil {
		return err
	}
	if *texts[setting] != "" {
		return d.Errf("%s is set twice", name)
	}
	*texts[setting] = value
	return nil
}

// peerTrusted reports whether the request came straight from one of the addresses
// that the server's trusted_proxies names.
func peerTrusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}
