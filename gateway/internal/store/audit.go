package store

const sqlInsertAudit = `INSERT INTO gateway_audit (at, action, run_id, actor, token_id, remote, detail)
	VALUES (?,?,?,?,?,?,?)`

// InsertAudit stores an audit entry and sets its ID.
func (tx *Tx) InsertAudit(e *AuditEntry) error {
	id, err := tx.insert(sqlInsertAudit, e.AtMs, e.Action, orNull(e.RunID), orNull(e.Actor), orNull(e.TokenID),
		orNull(e.Remote), e.Detail)
	if err == nil {
		e.ID = id
	}
	return err
}

// AuditFilter selects audit entries. Zero fields do not restrict.
type AuditFilter struct {
	RunID    string
	Action   string
	SinceMs  int64
	BeforeID int64 // for paging: the last ID seen
	Limit    int   // 0: 100
}

// Audit returns the selected entries, newest first.
func (v *View) Audit(f AuditFilter) ([]*AuditEntry, error) {
	query := "SELECT id, at, action, run_id, actor, token_id, remote, detail FROM gateway_audit WHERE at >= ?"
	args := []any{f.SinceMs}
	if f.RunID != "" {
		query, args = query+" AND run_id = ?", append(args, f.RunID)
	}
	if f.Action != "" {
		query, args = query+" AND action = ?", append(args, f.Action)
	}
	if f.BeforeID > 0 {
		query, args = query+" AND id < ?", append(args, f.BeforeID)
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return list(v, query+" ORDER BY id DESC LIMIT ?", append(args, f.Limit), func(r row) *AuditEntry {
		return &AuditEntry{
			ID: r.num(0), AtMs: r.num(1), Action: r.str(2), RunID: r.str(3), Actor: r.str(4),
			TokenID: r.str(5), Remote: r.str(6), Detail: r.json(7),
		}
	})
}
