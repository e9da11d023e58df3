package gateway

import (
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// audit returns the entries of an action, newest first.
func (h *harness) audit(action string) (entries []*store.AuditEntry) {
	h.t.Helper()
	run, release := h.gateway.acquire()
	require.NotNil(h.t, run)
	defer release()
	require.NoError(h.t, run.store.View(h.t.Context(), func(v *store.View) (err error) {
		entries, err = v.Audit(store.AuditFilter{Action: action})
		return err
	}))
	return entries
}
