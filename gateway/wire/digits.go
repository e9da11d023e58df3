package wire

import "strconv"

// Digits keeps the decimal text of the number that was appended last, for numbers that mostly
// stay as they are or grow by one: only their end is made anew then. The zero value is ready.
// Not safe for concurrent use.
type Digits struct {
	n    int64
	len  uint8 // of text; 0: nothing was appended
	text [20]byte
}

// Append appends n in decimal to dst.
func (d *Digits) Append(dst []byte, n int64) []byte {
	if n != d.n || d.len == 0 {
		d.set(n)
	}
	return append(dst, d.text[:d.len]...)
}

func (d *Digits) set(n int64) {
	if last := int(d.len) - 1; n > 1 && n-1 == d.n && d.text[last] < '9' {
		d.text[last]++
	} else {
		d.len = uint8(len(strconv.AppendInt(d.text[:0], n, 10)))
	}
	d.n = n
}
