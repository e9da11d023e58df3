package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// getSchemaSignature signs the gateway's own tables: a component is the SHA-256 of the
// statements that made the table and its indexes, with runs of white space as one
// space; the signature is that of the lines "<table>:<component>". Two databases with
// one signature hold the same shapes of rows, whatever else the file holds.
func (r *Router) getSchemaSignature(ctx context.Context, _ *Call, _ params) (any, error) {
	var version int64
	var objects []*store.SchemaObject
	err := r.deps.Store.View(ctx, func(v *store.View) (err error) {
		version, objects, err = v.Schema()
		return err
	})
	if err != nil {
		return nil, err
	}
	statements := map[string]*strings.Builder{}
	for _, o := range objects {
		if statements[o.Table] == nil {
			statements[o.Table] = &strings.Builder{}
		}
		fmt.Fprintln(statements[o.Table], strings.Join(strings.Fields(o.SQL), " "))
	}
	s := wire.SchemaSignature{SchemaVersion: fmt.Sprintf("%04d", version), Components: map[string]string{}}
	var lines strings.Builder
	for _, table := range slices.Sorted(maps.Keys(statements)) {
		s.Components[table] = sha256Hex(statements[table].String())
		fmt.Fprintf(&lines, "%s:%s\n", table, s.Components[table])
	}
	s.Signature = sha256Hex(lines.String())
	return s, nil
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
