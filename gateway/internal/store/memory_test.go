package store

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	s := open(t)
	set := func(ns, key, value string, at, expires int64) {
		update(t, s, func(tx *Tx) error {
			return tx.MemorySet(&MemoryEntry{Namespace: ns, Key: key, Value: json.RawMessage(value), UpdatedAtMs: at, ExpiresAtMs: expires})
		})
	}
	set("n", "a", `1`, 10, 0)
	set("n", "a", `2`, 20, 0)
	set("n", "b", `3`, 10, 15)
	set("m", "c", `4`, 10, 0)
	view(t, s, func(v *View) {
		e, err := v.Memory("n", "a", 20)
		require.NoError(t, err)
		same(t, &MemoryEntry{Namespace: "n", Key: "a", Value: json.RawMessage(`2`), CreatedAtMs: 10, UpdatedAtMs: 20}, e)
		_, err = v.Memory("n", "b", 14)
		require.NoError(t, err)
		_, err = v.Memory("n", "b", 15)
		require.ErrorIs(t, err, ErrNotFound)
		all, err := v.MemoryAll("", 20, 0)
		require.NoError(t, err)
		require.Len(t, all, 2)
		of, err := v.MemoryAll("n", 14, 5)
		require.NoError(t, err)
		require.Len(t, of, 2)
	})
	set("n", "b", `5`, 30, 0) // had expired: a new entry
	view(t, s, func(v *View) {
		e, err := v.Memory("n", "b", 30)
		require.NoError(t, err)
		require.EqualValues(t, 30, e.CreatedAtMs)
	})
	update(t, s, func(tx *Tx) error {
		was, err := tx.MemoryDelete("n", "b")
		require.True(t, was)
		return err
	})
	set("n", "x", `6`, 1, 2)
	update(t, s, func(tx *Tx) error {
		n, err := tx.MemoryExpire(2)
		require.EqualValues(t, 1, n)
		return err
	})
}
