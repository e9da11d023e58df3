package store

import "strings"

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
	Actor    string
	TokenID  string
	SinceMs  int64
	BeforeID int64 // for paging: the last ID seen
	AfterID  int64 // for following: the newest ID seen
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
	if f.Actor != "" {
		query, args = query+" AND actor = ?", append(args, f.Actor)
	}
	if f.TokenID != "" {
		query, args = query+" AND token_id = ?", append(args, f.TokenID)
	}
	if f.AfterID > 0 {
		query, args = query+" AND id > ?", append(args, f.AfterID)
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

// LastActions returns, of the given actions, the newest one about each token.
func (v *View) LastActions(actions []string) (map[string]string, error) {
	args := make([]any, len(actions))
	for i, a := range actions {
		args[i] = a
	}
	last := make(map[string]string)
	err := v.c.each("SELECT token_id, action FROM gateway_audit WHERE token_id IS NOT NULL AND action IN (?"+
		strings.Repeat(",?", len(actions)-1)+") ORDER BY id", args, func(r row) error {
		last[r.str(0)] = r.str(1)
		return nil
	})
	return last, err
}

const sqlOldestAudits = "SELECT id, at FROM gateway_audit ORDER BY id"

// DeleteAudit removes at most limit entries from before a time, the oldest first, and
// returns how many. It goes through the entries in the order in which they were made, up to
// the first that is to stay: no index of their times is kept for this alone. An entry from
// the future, of a clock that was wrong, is passed over.
func (tx *Tx) DeleteAudit(beforeMs int64, limit int) (int64, error) {
	now := tx.s.now().UnixMilli()
	var last int64
	found := 0
	err := tx.c.each(sqlOldestAudits, nil, func(r row) error {
		switch at := r.num(1); {
		case found == limit, at >= beforeMs && at <= now:
			return errStop
		case at < beforeMs:
			last = r.num(0)
			found++
		}
		return nil
	})
	if err != nil || found == 0 {
		return 0, err
	}
	return tx.write("DELETE FROM gateway_audit WHERE id <= ? AND at < ?", last, beforeMs)
}
