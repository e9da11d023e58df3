package sqlitefile

import (
	"encoding/binary"
	"fmt"
)

// MaxColumns bounds Tree.Columns.
const MaxColumns = 8

// Row is a row of a table, as far as its columns were asked for.
type Row struct {
	data    []byte
	columns [MaxColumns]column
}

// column says where a value lies. kind is the format's serial type.
type column struct {
	kind     uint64
	at, size int
}

// parse finds the first n columns of a record.
func (r *Row) parse(data []byte, n int) error {
	length, at := varint(data)
	if at == 0 || length > uint64(len(data)) {
		return fmt.Errorf("%w: a row without a header", ErrFormat)
	}
	head, body := data[:length], int(length)
	r.data = data
	for i := range n {
		if at >= len(head) {
			return fmt.Errorf("%w: a row has fewer columns", ErrFormat)
		}
		kind, used := uint64(head[at]), 1
		if kind >= 0x80 {
			if kind, used = varint(head[at:]); used == 0 {
				return fmt.Errorf("%w: the header of a row ends early", ErrFormat)
			}
		}
		at += used
		size := 0
		if kind < 12 {
			size = int(sizes[kind])
		} else if kind -= 12; kind < 2*maxRow {
			size, kind = int(kind/2), kind+12
		} else {
			return fmt.Errorf("%w: a value is too long", ErrFormat)
		}
		r.columns[i] = column{kind, body, size}
		if body += size; body > len(data) {
			return fmt.Errorf("%w: a value lies outside its row", ErrFormat)
		}
	}
	return nil
}

// sizes of the values of the first serial types: NULL, integers, a float, 0, 1, reserved.
var sizes = [12]uint8{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}

func (r *Row) key() Key { return Key{r.Int(0), r.Int(1)} }

// Null reports whether a column has no value.
func (r *Row) Null(i int) bool { return r.columns[i].kind == 0 }

// Int is the integer of a column, 0 if it holds something else.
func (r *Row) Int(i int) int64 {
	c := r.columns[i]
	b := r.data[c.at : c.at+c.size]
	switch c.kind {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 3:
		return int64(int8(b[0]))<<16 | int64(b[1])<<8 | int64(b[2])
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	case 5:
		return int64(int16(binary.BigEndian.Uint16(b)))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
	case 6:
		return int64(binary.BigEndian.Uint64(b))
	case 9:
		return 1
	}
	return 0
}

// Bytes are the text or blob of a column, nil if it holds something else.
func (r *Row) Bytes(i int) []byte {
	c := r.columns[i]
	if c.kind < 12 {
		return nil
	}
	return r.data[c.at : c.at+c.size : c.at+c.size]
}

// varint reads a number of one to nine bytes; used is 0 if b ends within it.
func varint(b []byte) (n uint64, used int) {
	for i, c := range b {
		if i == 8 {
			return n<<8 | uint64(c), 9
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}
