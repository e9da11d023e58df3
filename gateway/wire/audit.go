package wire

import "encoding/json"

// MethodAuditList is this gateway's own: it shows who did what, when and from where.
const MethodAuditList = "audit.list"

// AuditRow is one entry of the audit table. Ids grow with time.
type AuditRow struct {
	ID      int64           `json:"id"`
	AtMs    int64           `json:"atMs"`
	Action  string          `json:"action"`
	RunID   *string         `json:"runId"`
	Actor   *string         `json:"actor"`   // user id, else token id, else "gateway"
	TokenID *string         `json:"tokenId"` // of the token that was used, or that the entry is about
	Remote  *string         `json:"remote"`  // client address
	Detail  json.RawMessage `json:"detail"`  // depends on the action; null for none
}
