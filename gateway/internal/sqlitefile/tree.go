// Package sqlitefile reads rows of a table WITHOUT ROWID from the pages of a SQLite
// database, as its file format (https://www.sqlite.org/fileformat2.html) lays them down.
// It is for reading many rows in order, where SQLite's own steps from row to row cost
// several times what the rows do. Pages come from SQLite, which knows which are current.
package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFormat says that pages are not what they should be. SQLite may still read them, or
// tells what is wrong.
var ErrFormat = errors.New("sqlitefile: unexpected page")

// Key is the primary key of a table: its first two columns, which are integers.
type Key [2]int64

func (k Key) before(o Key) bool { return k[0] < o[0] || k[0] == o[0] && k[1] < o[1] }

// Tree is the b-tree of a table WITHOUT ROWID. The fields may be changed between walks. Not
// safe for concurrent use.
type Tree struct {
	Page    func(number uint32) ([]byte, error) // valid until the next call
	Root    uint32
	Pages   uint32 // of the database: no row is longer than all of them
	Usable  int    // bytes of a page without those reserved at its end
	Columns int    // to read of each row, from the first; at most MaxColumns

	inner [maxDepth]node // from the root to above the leaf; their memory is kept
	row   Row
	spill []byte
}

// node is a copy of an inner page and the position in it.
type node struct {
	page []byte
	at   int // the cell that follows the child being read
}

// Bounds. SQLite's trees are never deeper.
const (
	maxDepth = 20
	maxRow   = 64 << 20 // bytes of a row
)

// Kinds of page, the first byte.
const (
	innerPage = 0x02
	leafPage  = 0x0a
)

// From calls fn for every row whose key is not before from, in order, until fn says no.
// Row and its bytes are valid during the call. An error is that of Page, or is ErrFormat.
func (t *Tree) From(from Key, fn func(*Row) bool) error {
	w := walk{t: t, fn: fn}
	depth, number, leaf, err := t.descend(0, t.Root, from)
	if err != nil {
		return err
	}
	at, err := t.search(leaf, from)
	for err == nil {
		if err = w.leaf(number, leaf, at); err != nil {
			break
		}
		for depth > 0 && t.inner[depth-1].at == cells(t.inner[depth-1].page) {
			depth--
		}
		if depth == 0 {
			return nil
		}
		n := &t.inner[depth-1]
		if _, err = w.cell(n.page, n.at); err != nil {
			break
		}
		n.at++
		var child uint32
		if child, err = t.child(n.page, n.at); err == nil {
			depth, number, leaf, err = t.descend(depth, child, first)
			at = 0
		}
	}
	if err == errStop {
		return nil
	}
	return err
}

var (
	first   = Key{-1 << 63, -1 << 63}
	errStop = errors.New("stop")
)

// descend goes from a page down to the leaf where key is or would be.
func (t *Tree) descend(depth int, number uint32, key Key) (at int, leafNumber uint32, leaf []byte, err error) {
	for {
		page, err := t.page(number)
		if err != nil {
			return 0, 0, nil, err
		}
		if page[0] == leafPage {
			if cells(page) == 0 && depth > 0 {
				return 0, 0, nil, fmt.Errorf("%w: page %d is empty", ErrFormat, number)
			}
			return depth, number, page, nil
		}
		if depth == maxDepth {
			return 0, 0, nil, fmt.Errorf("%w: the tree is too deep", ErrFormat)
		}
		n := &t.inner[depth]
		n.page = append(n.page[:0], page...)
		if n.at, err = t.search(n.page, key); err != nil {
			return 0, 0, nil, err
		}
		if number, err = t.child(n.page, n.at); err != nil {
			return 0, 0, nil, err
		}
		depth++
	}
}

// page reads a page of the tree: its kind and the room for its cell pointers are checked.
func (t *Tree) page(number uint32) ([]byte, error) {
	page, err := t.Page(number)
	if err != nil {
		return nil, err
	}
	if t.Usable < 480 || len(page) < t.Usable || page[0] != innerPage && page[0] != leafPage ||
		header(page)+2*cells(page) > t.Usable {
		return nil, fmt.Errorf("%w: page %d is not of an index", ErrFormat, number)
	}
	return page[:t.Usable], nil
}

func cells(page []byte) int { return int(binary.BigEndian.Uint16(page[3:])) }

func header(page []byte) int {
	if page[0] == innerPage {
		return 12
	}
	return 8
}

// child is the page before cell i of an inner page, behind the last one for their number.
func (t *Tree) child(page []byte, i int) (uint32, error) {
	if i == cells(page) {
		return binary.BigEndian.Uint32(page[8:]), nil
	}
	at := int(binary.BigEndian.Uint16(page[12+2*i:]))
	if at+4 > len(page) {
		return 0, fmt.Errorf("%w: a cell lies outside", ErrFormat)
	}
	return binary.BigEndian.Uint32(page[at:]), nil
}

// search finds the first cell whose key is not before key.
func (t *Tree) search(page []byte, key Key) (int, error) {
	low, high := 0, cells(page)
	if key == first {
		return 0, nil
	}
	for low < high {
		mid := int(uint(low+high) / 2)
		local, _, _, err := t.local(page, mid)
		if err != nil {
			return 0, err
		}
		if err := t.row.parse(local, 2); err != nil {
			return 0, err
		}
		if t.row.key().before(key) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

// local returns the part of a cell's row that lies in the page, the size of the whole row,
// and the first overflow page if that is more.
func (t *Tree) local(page []byte, i int) (part []byte, size int, overflow uint32, err error) {
	at := int(binary.BigEndian.Uint16(page[header(page)+2*i:]))
	if page[0] == innerPage {
		at += 4
	}
	if at >= len(page) {
		return nil, 0, 0, fmt.Errorf("%w: a cell lies outside", ErrFormat)
	}
	n, used := varint(page[at:])
	if used == 0 || n > maxRow || n > uint64(t.Pages)*uint64(t.Usable) {
		return nil, 0, 0, fmt.Errorf("%w: a row of %d bytes", ErrFormat, n)
	}
	at, size = at+used, int(n)
	here := size
	if most := (t.Usable-12)*64/255 - 23; size > most {
		least := (t.Usable-12)*32/255 - 23
		if here = least + (size-least)%(t.Usable-4); here > most {
			here = least
		}
		if at+here+4 > len(page) {
			return nil, 0, 0, fmt.Errorf("%w: a row lies outside", ErrFormat)
		}
		overflow = binary.BigEndian.Uint32(page[at+here:])
	}
	if at+here > len(page) {
		return nil, 0, 0, fmt.Errorf("%w: a row lies outside", ErrFormat)
	}
	return page[at : at+here], size, overflow, nil
}

// whole joins a row's part with what lies in overflow pages.
func (t *Tree) whole(part []byte, size int, overflow uint32) ([]byte, error) {
	t.spill = append(t.spill[:0], part...)
	for len(t.spill) < size {
		if overflow == 0 {
			return nil, fmt.Errorf("%w: the rest of a row is missing", ErrFormat)
		}
		page, err := t.Page(overflow)
		if err != nil {
			return nil, err
		}
		if len(page) < t.Usable {
			return nil, fmt.Errorf("%w: a page of %d bytes", ErrFormat, len(page))
		}
		overflow = binary.BigEndian.Uint32(page)
		t.spill = append(t.spill, page[4:4+min(t.Usable-4, size-len(t.spill))]...)
	}
	return t.spill, nil
}

// walk hands rows to fn and sees to their order, so that it ends whatever pages say.
type walk struct {
	t    *Tree
	fn   func(*Row) bool
	last Key
	some bool
}

// leaf hands over the rows of a leaf from cell i on.
func (w *walk) leaf(number uint32, page []byte, i int) error {
	for n := cells(page); i < n; i++ {
		spilled, err := w.cell(page, i)
		if err == nil && spilled && i+1 < n { // other pages were read meanwhile
			page, err = w.t.page(number)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cell hands over one row; page is not valid any more if it spilled.
func (w *walk) cell(page []byte, i int) (spilled bool, err error) {
	row, size, overflow, err := w.t.local(page, i)
	if err != nil {
		return false, err
	}
	if spilled = len(row) < size; spilled {
		if row, err = w.t.whole(row, size, overflow); err != nil {
			return spilled, err
		}
	}
	r := &w.t.row
	if err := r.parse(row, w.t.Columns); err != nil {
		return spilled, err
	}
	key := r.key()
	if w.some && !w.last.before(key) {
		return spilled, fmt.Errorf("%w: rows are out of order", ErrFormat)
	}
	w.last, w.some = key, true
	if !w.fn(r) {
		err = errStop
	}
	if cap(w.t.spill) > keptSpill {
		w.t.spill = nil
	}
	return spilled, err
}

const keptSpill = 64 << 10 // longer rows leave no memory behind
