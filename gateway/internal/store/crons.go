package store

// Cron is a row of gateway_crons.
type Cron struct {
	ID          int64
	CronID      string
	WorkflowKey string
	Pattern     string
	TimeZone    string // "": local time
	Enabled     bool
	Registered  bool // comes with the workflow
	Changed     bool // registered, and changed by an operator since
	Removed     bool // registered, and removed by an operator
	Idle        bool // registered, and its workflow is not there now
	CreatedAtMs int64
	LastRunAtMs int64 // 0: never
	NextRunAtMs int64 // 0: no tick is left
	Error       string
}

const cronColumns = `id, cron_id, workflow_key, pattern, time_zone, enabled, registered, changed, removed, idle,
	created_at, last_run_at, next_run_at, error`

func scanCron(r row) *Cron {
	return &Cron{
		ID: r.num(0), CronID: r.str(1), WorkflowKey: r.str(2), Pattern: r.str(3), TimeZone: r.str(4), Enabled: r.bool(5),
		Registered: r.bool(6), Changed: r.bool(7), Removed: r.bool(8), Idle: r.bool(9), CreatedAtMs: r.num(10),
		LastRunAtMs: r.num(11), NextRunAtMs: r.num(12), Error: r.str(13),
	}
}

// PutCron stores a schedule, in place of one with the same CronID. CreatedAtMs of
// that one stays.
func (tx *Tx) PutCron(c *Cron) error {
	tx.Touch(CollectionCrons)
	_, err := tx.write(`INSERT INTO gateway_crons (cron_id, workflow_key, pattern, time_zone, enabled, registered, changed, removed,
		idle, created_at, last_run_at, next_run_at, error) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (cron_id) DO UPDATE SET workflow_key = excluded.workflow_key, pattern = excluded.pattern,
			time_zone = excluded.time_zone, enabled = excluded.enabled, registered = excluded.registered,
			changed = excluded.changed, removed = excluded.removed, idle = excluded.idle,
			last_run_at = excluded.last_run_at, next_run_at = excluded.next_run_at, error = excluded.error`,
		c.CronID, c.WorkflowKey, c.Pattern, c.TimeZone, c.Enabled, c.Registered, c.Changed, c.Removed, c.Idle, c.CreatedAtMs,
		orNull(c.LastRunAtMs), orNull(c.NextRunAtMs), orNull(c.Error))
	return err
}

// DeleteCron removes a schedule. ErrNotFound if there is none.
func (tx *Tx) DeleteCron(cronID string) error {
	tx.Touch(CollectionCrons)
	return tx.mustWrite("DELETE FROM gateway_crons WHERE cron_id = ?", cronID)
}

// Cron returns a schedule, removed ones included, or ErrNotFound.
func (v *View) Cron(cronID string) (*Cron, error) {
	return get(v, "SELECT "+cronColumns+" FROM gateway_crons WHERE cron_id = ?", []any{cronID}, scanCron)
}

// Crons returns all schedules, removed ones included, oldest first.
func (v *View) Crons() ([]*Cron, error) {
	return list(v, "SELECT "+cronColumns+" FROM gateway_crons ORDER BY created_at, id", nil, scanCron)
}

const sqlDueCrons = "SELECT " + cronColumns + ` FROM gateway_crons
	WHERE enabled = 1 AND removed = 0 AND idle = 0 AND next_run_at IS NOT NULL`

// DueCrons returns at most limit schedules that are due at a time, earliest first.
func (v *View) DueCrons(ms int64, limit int) ([]*Cron, error) {
	return list(v, sqlDueCrons+" AND next_run_at <= ? ORDER BY next_run_at, id LIMIT ?", []any{ms, limit}, scanCron)
}

// NextCron returns when the next schedule is due, in epoch milliseconds; 0 for never.
func (v *View) NextCron() (int64, error) {
	return v.c.number(`SELECT min(next_run_at) FROM gateway_crons
		WHERE enabled = 1 AND removed = 0 AND idle = 0 AND next_run_at IS NOT NULL`)
}

// CountCrons is the number of schedules, removed ones included.
func (v *View) CountCrons() (int64, error) {
	return v.c.number("SELECT count(*) FROM gateway_crons")
}
