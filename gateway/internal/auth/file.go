package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrCorrupt is wrapped by errors about a token store that cannot be read as one.
var ErrCorrupt = errors.New("token store is unreadable or corrupt")

const (
	secretPrefix = "smithers_"
	handlePrefix = "smithers_action_"
	defaultRole  = "operator"
	fileVersion  = 2
	maxAudit     = 1_000    // entries kept, newest
	maxFileBytes = 32 << 20 // of a store; a larger file is corrupt unread
)

// Grant is one entry of the token store. Secret is set only in entries that other
// programs wrote: this one stores the hash alone.
type Grant struct {
	TokenID     string   `json:"tokenId"`
	Role        string   `json:"role"`
	Scopes      []string `json:"scopes"`
	UserID      string   `json:"userId,omitempty"`
	IssuedAtMs  int64    `json:"issuedAtMs,omitempty"`
	ExpiresAtMs int64    `json:"expiresAtMs,omitempty"` // 0: never
	Secret      string   `json:"secret,omitempty"`
	TokenHash   string   `json:"tokenHash,omitempty"`
	RevokedAtMs int64    `json:"revokedAtMs,omitempty"`

	rest map[string]json.RawMessage // members as read, so that unknown ones survive a rewrite
}

// ActionToken lets its holder run one command with a token it does not see. The
// store keeps the hash of the handle and the token sealed with it; entries of
// other programs carry the handle in clear and no seal.
type ActionToken struct {
	Handle      string   `json:"handle,omitempty"`
	HandleHash  string   `json:"handleHash,omitempty"`
	TokenID     string   `json:"tokenId"`
	ActionID    string   `json:"actionId"`
	Scopes      []string `json:"scopes"`
	IssuedAtMs  int64    `json:"issuedAtMs,omitempty"`
	ExpiresAtMs int64    `json:"expiresAtMs,omitempty"` // 0: never
	RevokedAtMs int64    `json:"revokedAtMs,omitempty"`
	Sealed      string   `json:"sealed,omitempty"`

	rest map[string]json.RawMessage
}

// file is a token store in memory.
type file struct {
	tokens  map[string]*Grant
	actions map[string]*ActionToken
	audit   []json.RawMessage
	version int64
}

func newFile() *file {
	return &file{tokens: map[string]*Grant{}, actions: map[string]*ActionToken{}, version: fileVersion}
}

// parseFile reads and normalizes a store. An empty file counts as corrupt: it is
// what a writer that crashed leaves behind.
func parseFile(data []byte) (*file, error) {
	var root map[string]json.RawMessage
	if err := json.Unmarshal(data, &root); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) { // its text names one character at most
			return nil, fmt.Errorf("%w: %w at byte %d", ErrCorrupt, err, syntax.Offset)
		}
		return nil, fmt.Errorf("%w: it is no JSON object", ErrCorrupt)
	}
	if root == nil {
		return nil, fmt.Errorf("%w: it is no JSON object", ErrCorrupt)
	}
	f := newFile()
	f.version = intOf(root["version"], 0)
	tokens := objects(root["tokens"])
	for _, key := range slices.Sorted(maps.Keys(tokens)) {
		m := tokens[key]
		g := grantOf(m)
		if g.TokenID == "" {
			g.TokenID = g.id(sha256.Sum256([]byte(key)))
		}
		if g.Secret == "" && !has(m, "tokenHash") && strings.HasPrefix(key, secretPrefix) {
			g.Secret = key
		}
		if g.Secret != "" && !has(m, "tokenHash") {
			g.TokenHash = hashText(g.Secret)
		}
		if key == g.TokenID && g.Secret != "" { // version 1 used ids as keys
			if _, taken := tokens[g.Secret]; !taken && f.tokens[g.Secret] == nil {
				key = g.Secret
			}
		}
		f.tokens[key] = g
	}
	for key, m := range objects(root["actionTokens"]) {
		f.actions[key] = actionOf(m)
	}
	var audit []json.RawMessage
	if json.Unmarshal(root["audit"], &audit) == nil {
		for _, item := range audit {
			var m map[string]json.RawMessage
			if json.Unmarshal(item, &m) == nil && stringOf(m["type"]) != "" {
				f.audit = append(f.audit, item)
			}
		}
	}
	return f, nil
}

// encode gives the store as version 2, indented, with a trailing newline.
func (f *file) encode() ([]byte, error) {
	if n := len(f.audit); n > maxAudit {
		f.audit = f.audit[n-maxAudit:]
	}
	audit := f.audit
	if audit == nil {
		audit = []json.RawMessage{}
	}
	b, err := json.MarshalIndent(struct {
		Version int                     `json:"version"`
		Tokens  map[string]*Grant       `json:"tokens"`
		Actions map[string]*ActionToken `json:"actionTokens"`
		Audit   []json.RawMessage       `json:"audit"`
	}{fileVersion, f.tokens, f.actions, audit}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode token store: %w", err)
	}
	return append(b, '\n'), nil
}

// matches returns the hash of the token that authenticates as g, stored under key:
// by tokenHash when there is one, else by secret, else by key. A key never stands
// in for a hash, nor does it count when it is only the public id of the token.
func (g *Grant) matches(key string) (h keyHash, ok bool) {
	switch {
	case g.TokenHash != "":
		raw, err := hex.DecodeString(g.TokenHash)
		if err != nil || len(raw) != len(h) {
			return h, false
		}
		return keyHash(raw), true
	case has(g.rest, "tokenHash"): // of a wrong type
		return h, false
	case g.Secret != "":
		return sha256.Sum256([]byte(g.Secret)), true
	case key == "" || key == g.TokenID:
		return h, false
	}
	return sha256.Sum256([]byte(key)), true
}

// id is the token's id: its own, else the head of the hash.
func (g *Grant) id(h keyHash) string {
	if g.TokenID != "" {
		return g.TokenID
	}
	return hex.EncodeToString(h[:])[:idLength]
}

func grantOf(m map[string]json.RawMessage) *Grant {
	g := &Grant{
		TokenID: stringOf(m["tokenId"]), Role: stringOf(m["role"]), Scopes: stringsOf(m["scopes"]), UserID: stringOf(m["userId"]),
		IssuedAtMs: intOf(m["issuedAtMs"], 0), Secret: stringOf(m["secret"]), TokenHash: stringOf(m["tokenHash"]),
		// A time that cannot be read must not make a token live longer.
		ExpiresAtMs: intOf(m["expiresAtMs"], 1), RevokedAtMs: intOf(m["revokedAtMs"], 1),
		rest: m,
	}
	if g.Role == "" {
		g.Role = defaultRole
	}
	return g
}

func actionOf(m map[string]json.RawMessage) *ActionToken {
	return &ActionToken{
		Handle: stringOf(m["handle"]), HandleHash: stringOf(m["handleHash"]), TokenID: stringOf(m["tokenId"]),
		ActionID: stringOf(m["actionId"]), Scopes: stringsOf(m["scopes"]), IssuedAtMs: intOf(m["issuedAtMs"], 0),
		ExpiresAtMs: intOf(m["expiresAtMs"], 1), RevokedAtMs: intOf(m["revokedAtMs"], 1), Sealed: stringOf(m["sealed"]),
		rest: m,
	}
}

// MarshalJSON writes g with the unknown members it was read with.
func (g *Grant) MarshalJSON() ([]byte, error) {
	type plain Grant
	p := plain(*g)
	if p.Scopes == nil {
		p.Scopes = []string{}
	}
	return merge(p, g.rest)
}

// MarshalJSON writes a with the unknown members it was read with.
func (a *ActionToken) MarshalJSON() ([]byte, error) {
	type plain ActionToken
	p := plain(*a)
	if p.Scopes == nil {
		p.Scopes = []string{}
	}
	return merge(p, a.rest)
}

// merge encodes known and adds those members of rest that it lacks.
func merge(known any, rest map[string]json.RawMessage) ([]byte, error) {
	b, err := json.Marshal(known)
	if err != nil || len(rest) == 0 {
		return b, err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	all := maps.Clone(rest)
	maps.Copy(all, m)
	return json.Marshal(all)
}

// objects returns the members of raw that are objects themselves.
func objects(raw json.RawMessage) map[string]map[string]json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	out := make(map[string]map[string]json.RawMessage, len(members))
	for k, v := range members {
		var m map[string]json.RawMessage
		if json.Unmarshal(v, &m) == nil && m != nil {
			out[k] = m
		}
	}
	return out
}

// has reports whether a member is there and says something.
func has(m map[string]json.RawMessage, key string) bool {
	switch string(m[key]) {
	case "", "null", `""`:
		return false
	}
	return true
}

func stringOf(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// stringsOf keeps the strings of an array, trimmed, without blanks.
func stringsOf(raw json.RawMessage) []string {
	var items []json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &items) != nil {
		return nil
	}
	var out []string
	for _, it := range items {
		if s := strings.TrimSpace(stringOf(it)); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// intOf reads a positive number, or 0 when there is none, or bad when it is
// something else.
func intOf(raw json.RawMessage, bad int64) int64 {
	if len(raw) == 0 || string(raw) == "null" {
		return 0
	}
	var v float64
	if json.Unmarshal(raw, &v) != nil || v < 1 {
		return bad
	}
	return int64(min(v, 1<<53))
}
