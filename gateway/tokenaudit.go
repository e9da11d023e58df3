package gateway

import (
	"context"
	"encoding/json"
	"slices"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Actions of the audit table about tokens. They are written when the gateway sees the
// store changed, or at its next start.
const (
	auditIssued  = "token.issued"
	auditRevoked = "token.revoked"
	auditRemoved = "token.removed" // its entry is gone from the store
)

var tokenActions = []string{auditIssued, auditRevoked, auditRemoved}

// auditTokens records what changed in the token store since the last time, whoever
// wrote it: the file does not say.
func (r *running) auditTokens() {
	w := r.tokens.Load()
	if w == nil || w.Err() != nil {
		return // a store that cannot be read has not lost its tokens
	}
	r.tokenAudit.Lock()
	defer r.tokenAudit.Unlock()
	if err := r.recordTokens(r.ctx, w.Current().List()); err != nil && r.ctx.Err() == nil {
		r.logger.Error("writing the audit entries of the token store", zap.Error(err))
	}
}

// recordTokens needs tokenAudit.
func (r *running) recordTokens(ctx context.Context, grants []auth.GrantInfo) error {
	if r.tokenLast == nil {
		err := r.store.View(ctx, func(v *store.View) (err error) {
			r.tokenLast, err = v.LastActions(tokenActions)
			return err
		})
		if err != nil {
			return err
		}
	}
	entries := tokenChanges(grants, r.tokenLast, nowMs())
	if len(entries) == 0 {
		return nil
	}
	err := r.store.Update(ctx, func(tx *store.Tx) error {
		for _, entry := range entries {
			if err := tx.InsertAudit(entry); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, entry := range entries {
		r.tokenLast[entry.TokenID] = entry.Action
	}
	return nil
}

// tokenChanges compares a store with the last action known of each token.
func tokenChanges(grants []auth.GrantInfo, last map[string]string, now int64) []*store.AuditEntry {
	var entries []*store.AuditEntry
	note := func(action, id string, detail any) {
		text, err := json.Marshal(detail)
		if err != nil {
			text = nil
		}
		entries = append(entries, &store.AuditEntry{AtMs: now, Action: action, Actor: "token store", TokenID: id, Detail: text})
	}
	there := map[string]bool{}
	for _, g := range grants {
		there[g.TokenID] = true
		known := last[g.TokenID]
		if known == "" || known == auditRemoved {
			note(auditIssued, g.TokenID, map[string]any{"userId": g.UserID, "role": g.Role, "scopes": g.Scopes, "expiresAtMs": g.ExpiresAtMs})
		}
		if g.RevokedAtMs != 0 && known != auditRevoked {
			note(auditRevoked, g.TokenID, map[string]any{"userId": g.UserID, "revokedAtMs": g.RevokedAtMs})
		}
	}
	for id, action := range last {
		if !there[id] && action != auditRemoved {
			note(auditRemoved, id, nil)
		}
	}
	slices.SortFunc(entries, func(a, b *store.AuditEntry) int {
		if a.TokenID == b.TokenID { // issued before revoked
			return slices.Index(tokenActions, a.Action) - slices.Index(tokenActions, b.Action)
		}
		if a.TokenID < b.TokenID {
			return -1
		}
		return 1
	})
	return entries
}
