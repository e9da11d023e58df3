package rest

import (
	"encoding/json"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// An empty value in a query equals an absent one.

// text sets a parameter to a value of the query.
func (c *call) text(p params, names ...string) {
	for _, name := range names {
		if v := c.query.Get(name); v != "" {
			p[name] = v
		}
	}
}

// flag sets a parameter to true for exactly that text, to false for any other.
func (c *call) flag(p params, names ...string) {
	for _, name := range names {
		if v := c.query.Get(name); v != "" {
			p[name] = v == "true"
		}
	}
}

// positive sets a parameter to a whole number from 1.
func (c *call) positive(p params, names ...string) *failure {
	for _, name := range names {
		v := c.query.Get(name)
		if v == "" {
			continue
		}
		quoted, err := json.Marshal(v)
		if err != nil {
			quoted = []byte(`""`)
		}
		n, refused := wire.PositiveInt(name, quoted, 0, maxNumber)
		if refused != nil {
			return own(refused)
		}
		p[name] = n
	}
	return nil
}

// maxNumber bounds the numbers of a query; methods have bounds of their own.
const maxNumber = 1<<31 - 1

// whole reads a whole number from 0.
func (c *call) whole(name string, fallback int64) (int64, *failure) {
	v := c.query.Get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || n > 1<<53 {
		return 0, own(wire.Errorf(wire.CodeInvalidInput, "%s must be a non-negative integer.", name))
	}
	return int64(n), nil
}
