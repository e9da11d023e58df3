package store

import "encoding/json"

// MemoryEntry is a row of gateway_memory.
type MemoryEntry struct {
	Namespace   string
	Key         string
	Value       json.RawMessage
	CreatedAtMs int64
	UpdatedAtMs int64
	ExpiresAtMs int64 // 0: never
}

const memoryColumns = "namespace, key, value, created_at, updated_at, expires_at"

func scanMemory(r row) *MemoryEntry {
	return &MemoryEntry{
		Namespace: r.str(0), Key: r.str(1), Value: r.json(2), CreatedAtMs: r.num(3), UpdatedAtMs: r.num(4),
		ExpiresAtMs: r.num(5),
	}
}

// MemorySet stores a value. UpdatedAtMs is its time; an entry that is there, and
// has not expired by then, keeps its creation time.
func (tx *Tx) MemorySet(e *MemoryEntry) error {
	value := e.Value
	if len(value) == 0 {
		value = json.RawMessage("null")
	}
	_, err := tx.write(`INSERT INTO gateway_memory (`+memoryColumns+`) VALUES (?,?,?,?,?,?)
		ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at,
		created_at = CASE WHEN expires_at <= excluded.updated_at THEN excluded.updated_at ELSE created_at END,
		expires_at = excluded.expires_at`,
		e.Namespace, e.Key, value, e.UpdatedAtMs, e.UpdatedAtMs, orNull(e.ExpiresAtMs))
	return err
}

// MemoryDelete removes an entry and reports whether there was one.
func (tx *Tx) MemoryDelete(namespace, key string) (bool, error) {
	n, err := tx.write("DELETE FROM gateway_memory WHERE namespace = ? AND key = ?", namespace, key)
	return n > 0, err
}

// MemoryExpire removes entries that had expired by now and returns how many.
func (tx *Tx) MemoryExpire(nowMs int64) (int64, error) {
	return tx.write("DELETE FROM gateway_memory WHERE expires_at <= ?", nowMs)
}

// Memory returns an entry that has not expired, or ErrNotFound.
func (v *View) Memory(namespace, key string, nowMs int64) (*MemoryEntry, error) {
	return get(v, "SELECT "+memoryColumns+` FROM gateway_memory
		WHERE namespace = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)`,
		[]any{namespace, key, nowMs}, scanMemory)
}

// MemoryAll returns the entries of a namespace, or of all when it is "", that have
// not expired, ordered by namespace and key, at most limit (0: all) of them.
func (v *View) MemoryAll(namespace string, nowMs int64, limit int) ([]*MemoryEntry, error) {
	if limit <= 0 {
		limit = -1
	}
	query := "SELECT " + memoryColumns + " FROM gateway_memory WHERE (expires_at IS NULL OR expires_at > ?)"
	args := []any{nowMs}
	if namespace != "" {
		query, args = query+" AND namespace = ?", append(args, namespace)
	}
	return list(v, query+" ORDER BY namespace, key LIMIT ?", append(args, limit), scanMemory)
}
