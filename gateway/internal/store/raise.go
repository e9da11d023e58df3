package store

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
)

// raiseBy is how far numbers jump after a restore: beyond whatever the lost part of
// the history may have given out.
const raiseBy = 1_000_000

// raiseNumbers makes every run continue at a seq, and the gateway at a state
// version, that no client can have seen, and writes that down.
func raiseNumbers(c *conn, action, detail string, now time.Time) error {
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := raiseInside(c, action, detail, now)
	if err == nil {
		err = c.script("COMMIT")
	}
	if err != nil {
		return errors.Join(err, ignoreNoTransaction(c.script("ROLLBACK")))
	}
	return nil
}

func raiseInside(c *conn, action, detail string, now time.Time) error {
	_, err := c.exec(`UPDATE gateway_runs SET seq_base = ? + max(seq_base, coalesce((SELECT max(seq) + 1
		FROM gateway_events e WHERE e.rid = gateway_runs.rid AND e.seq IS NOT NULL), 1))`, raiseBy)
	if err != nil {
		return err
	}
	version, err := readStateVersion(c)
	if err != nil {
		return err
	}
	if err := setMeta(c, metaStateVersion, strconv.FormatInt(version+raiseBy, 10)); err != nil {
		return err
	}
	fields := map[string]any{"raisedBy": raiseBy, "stateVersion": version + raiseBy}
	if detail != "" {
		fields["from"] = detail
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = c.exec(sqlInsertAudit, now.UnixMilli(), action, nil, "gateway", nil, nil, b)
	return err
}
