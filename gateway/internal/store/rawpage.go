package store

import (
	"encoding/binary"
	"fmt"

	lib "modernc.org/sqlite/lib"

	"github.com/smithersai/caddy-smithers/gateway/internal/sqlitefile"
)

const (
	sqlPage      = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1"
	sqlEventRoot = "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = 'gateway_events'"
)

// readPage returns a page as the transaction of the connection sees it. It lies in SQLite's
// memory and is valid until the next one is read or endPage is called.
func (c *rawConn) readPage(number uint32) ([]byte, error) {
	s, err := c.prepare(sqlPage)
	if err != nil {
		return nil, err
	}
	c.endPage()
	if err := c.bindInts(s, 1, int64(number)); err != nil {
		return nil, err
	}
	c.page = s
	switch rc := lib.Xsqlite3_step(c.tls, s); rc {
	case lib.SQLITE_ROW:
		return rawRow{c.tls, s}.bytes(0), nil
	case lib.SQLITE_DONE:
		return nil, fmt.Errorf("%w: there is no page %d", sqlitefile.ErrFormat, number)
	default:
		return nil, c.failure(rc)
	}
}

func (c *rawConn) endPage() {
	if c.page != 0 {
		lib.Xsqlite3_reset(c.tls, c.page)
		c.page = 0
	}
}

// Where the first page tells of the database.
const (
	headReserved = 20
	headPages    = 28
	headCookie   = 40
	headEncoding = 56
	headLength   = 100
	utf8         = 1
)

// eventTree is the table of events. It must be called in a transaction and is valid until
// that ends: the first page tells whether the schema is still the one it was.
func (c *rawConn) eventTree() (*sqlitefile.Tree, error) {
	head, err := c.readPage(1)
	if err != nil {
		return nil, err
	}
	if len(head) < headLength || binary.BigEndian.Uint32(head[headEncoding:]) != utf8 {
		return nil, fmt.Errorf("%w: the first one", sqlitefile.ErrFormat)
	}
	c.tree.Pages = binary.BigEndian.Uint32(head[headPages:])
	cookie := binary.BigEndian.Uint32(head[headCookie:])
	if c.tree.Root != 0 && cookie == c.cookie {
		return &c.tree, nil
	}
	c.tree.Page, c.tree.Usable, c.tree.Columns = c.readPage, len(head)-int(head[headReserved]), eventTreeColumns
	c.tree.Root, c.cookie = 0, cookie
	s, err := c.prepare(sqlEventRoot)
	if err != nil {
		return nil, err
	}
	err = c.each(s, func(r rawRow) bool {
		c.tree.Root = uint32(r.num(0))
		return false
	})
	if err == nil && c.tree.Root == 0 {
		err = fmt.Errorf("%w: there is no table of events", sqlitefile.ErrFormat)
	}
	return &c.tree, err
}
