package store

// Doc is a row of gateway_docs: a ticket, plan, spec or proposal.
type Doc struct {
	Path        string
	Kind        string
	Content     string
	ContentHash string // SHA-256 hex of Content
	Status      string // "": none
	CreatedAtMs int64
	UpdatedAtMs int64
	DeletedAtMs int64 // 0: live
}

const docColumns = "path, kind, content, content_hash, status, created_at, updated_at, deleted_at"

func scanDoc(r row) *Doc {
	return &Doc{
		Path: r.str(0), Kind: r.str(1), Content: r.str(2), ContentHash: r.str(3), Status: r.str(4), CreatedAtMs: r.num(5),
		UpdatedAtMs: r.num(6), DeletedAtMs: r.num(7),
	}
}

// PutDoc stores a document in place of the one at its path, which keeps its creation
// time. A tombstone is revived unless d is one.
func (tx *Tx) PutDoc(d *Doc) error {
	tx.Touch(CollectionTickets | CollectionDocs)
	_, err := tx.write(`INSERT INTO gateway_docs (`+docColumns+`) VALUES (?,?,?,?,?,?,?,?)
		ON CONFLICT (path) DO UPDATE SET kind = excluded.kind, content = excluded.content,
		content_hash = excluded.content_hash, status = excluded.status, updated_at = excluded.updated_at,
		deleted_at = excluded.deleted_at`,
		d.Path, d.Kind, d.Content, d.ContentHash, orNull(d.Status), d.CreatedAtMs, d.UpdatedAtMs, orNull(d.DeletedAtMs))
	return err
}

// Doc returns the document at a path, a tombstone included, or ErrNotFound.
func (v *View) Doc(path string) (*Doc, error) {
	return get(v, "SELECT "+docColumns+" FROM gateway_docs WHERE path = ?", []any{path}, scanDoc)
}

// DocFilter selects documents. Zero fields do not restrict.
type DocFilter struct {
	Kind           string
	IncludeDeleted bool
	UpdatedAfterMs int64 // exclusive
	Limit          int   // 0: no limit
}

const sqlDocs = "SELECT " + docColumns + ` FROM gateway_docs
	WHERE updated_at > ?1 AND (?2 = '' OR kind = ?2) AND (?3 OR deleted_at IS NULL)
	ORDER BY updated_at DESC, path LIMIT ?4`

// Docs returns the selected documents, the one changed last first.
func (v *View) Docs(f DocFilter) ([]*Doc, error) {
	if f.Limit <= 0 {
		f.Limit = -1
	}
	return list(v, sqlDocs, []any{f.UpdatedAfterMs, f.Kind, f.IncludeDeleted, f.Limit}, scanDoc)
}
