package store

// PutBundle stores a bundle; one with the same hash is there already and stays.
func (tx *Tx) PutBundle(b *Bundle) error {
	_, err := tx.write(`INSERT INTO gateway_bundles (hash, path, source, source_map, created_at) VALUES (?,?,?,?,?)
		ON CONFLICT (hash) DO NOTHING`, b.Hash, b.Path, notNil(b.Source), b.SourceMap, b.CreatedAtMs)
	return err
}

// notNil keeps an empty value from becoming NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Bundle returns a bundle, or ErrNotFound.
func (v *View) Bundle(hash string) (*Bundle, error) {
	return get(v, "SELECT hash, path, source, source_map, created_at FROM gateway_bundles WHERE hash = ?",
		[]any{hash}, func(r row) *Bundle {
			return &Bundle{Hash: r.str(0), Path: r.str(1), Source: r.blob(2), SourceMap: r.blob(3), CreatedAtMs: r.num(4)}
		})
}

// sqlDropBundles looks for waiting runs in gateway_runs_version, whose condition this
// repeats, and for working ones, which are few, by their status.
const sqlDropBundles = `DELETE FROM gateway_bundles WHERE hash <> ?
	AND hash NOT IN (SELECT version FROM gateway_runs WHERE status = 'running')
	AND NOT EXISTS (SELECT 1 FROM gateway_runs r WHERE r.version = gateway_bundles.hash AND r.version <> ''
		AND r.status <> 'running' AND r.status <> 'finished' AND r.status <> 'failed' AND r.status <> 'cancelled'
		AND r.status <> 'continued')`

// DropUnusedBundles deletes the bundles that no run names which has not ended,
// except the one to keep ("": none). It returns how many.
func (tx *Tx) DropUnusedBundles(keep string) (int64, error) { return tx.write(sqlDropBundles, keep) }
