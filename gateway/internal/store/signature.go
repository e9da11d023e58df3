package store

// SchemaObject is a table or index of the gateway in the database.
type SchemaObject struct {
	Table string // the table it belongs to
	Name  string
	SQL   string // the statement that made it
}

// Schema returns the gateway's tables and indexes ordered by table and name, with the
// version of the schema.
func (v *View) Schema() (version int64, objects []*SchemaObject, err error) {
	if version, err = v.c.number("SELECT max(version) FROM gateway_schema"); err != nil {
		return 0, nil, err
	}
	objects, err = list(v, `SELECT tbl_name, name, sql FROM sqlite_schema
		WHERE sql IS NOT NULL AND tbl_name LIKE 'gateway\_%' ESCAPE '\' ORDER BY tbl_name, name`, nil,
		func(r row) *SchemaObject { return &SchemaObject{Table: r.str(0), Name: r.str(1), SQL: r.str(2)} })
	return version, objects, err
}
