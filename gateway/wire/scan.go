package wire

import (
	"encoding/json"
	"unicode/utf8"
)

// scanner walks one JSON text from left to right without building a tree and
// without recursion: hostile nesting costs one byte a level. It checks the grammar
// of RFC 8259 and tells its handler what it passes.
type scanner struct {
	data []byte
	pos  int
	kind []byte     // per open container: '{' or '[', with filled once it has an item
	info stringInfo // of the string at hand; a field, so that passing it on allocates nothing
}

// scanHandler hears about the values of a text. Depth counts the root as 1;
// start and end are offsets into the text.
type scanHandler interface {
	open(depth, start int)                        // a container begins
	close(depth, start, end, items int, arr bool) // and ends; start and items are 0 beyond MaxJSONDepth+1
	key(depth int, raw []byte)                    // of the member that follows; depth is the object's
	scalar(depth, start, end int, str *stringInfo)
}

// stringInfo is what one pass over a string literal learns.
type stringInfo struct {
	units, points int // UTF-16 units, code points
	cut           int // offset right after the point number MaxPromptPoints, 0 if shorter
}

// level is what the scanner remembers of an open container beside its kind. Deeper
// than the bounds allow it remembers nothing: the violation began further out.
type level struct {
	start int
	items int
}

// filled is set in scanner.kind; no bracket has this bit.
const filled = 0x80

// scan reports whether data is exactly one JSON text.
func (s *scanner) scan(h scanHandler) bool {
	var levels [MaxJSONDepth + 2]level // by depth; index 0 is not used
	s.skipSpace()
	for {
		// A value starts here.
		if s.pos >= len(s.data) {
			return false
		}
		start, depth := s.pos, len(s.kind)+1
		switch c := s.data[s.pos]; c {
		case '{', '[':
			h.open(depth, start)
			s.pos++
			s.kind = append(s.kind, c)
			if depth < len(levels) {
				levels[depth] = level{start: start}
			}
			s.skipSpace()
			if s.peek() == c+2 { // '{'+2 == '}', '['+2 == ']'
				break
			}
			if !s.item(h, levels[:]) {
				return false
			}
			continue
		case '"':
			if !s.str(&s.info) {
				return false
			}
			h.scalar(depth, start, s.pos, &s.info)
		default:
			if !s.literal() {
				return false
			}
			h.scalar(depth, start, s.pos, nil)
		}
		// A value ended, or an empty container is about to; close what closes.
		for {
			s.skipSpace()
			depth := len(s.kind)
			if depth == 0 {
				return s.pos == len(s.data)
			}
			top := s.kind[depth-1]
			c := top &^ filled
			next := s.peek()
			if next == ',' && top != c {
				s.pos++
				s.skipSpace()
				if !s.item(h, levels[:]) {
					return false
				}
				break
			}
			if next != c+2 {
				return false
			}
			s.pos++
			var l level
			if depth < len(levels) {
				l = levels[depth]
			}
			h.close(depth, l.start, s.pos, l.items, c == '[')
			s.kind = s.kind[:depth-1]
		}
	}
}

// item counts one more item of the innermost container and, in an object, reads its
// key.
func (s *scanner) item(h scanHandler, levels []level) bool {
	depth := len(s.kind)
	if depth < len(levels) {
		levels[depth].items++
	}
	s.kind[depth-1] |= filled
	return s.kind[depth-1]&^filled != '{' || s.member(h, depth)
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// member reads a key and its colon.
func (s *scanner) member(h scanHandler, depth int) bool {
	start := s.pos
	if s.peek() != '"' || !s.str(nil) {
		return false
	}
	h.key(depth, s.data[start:s.pos])
	s.skipSpace()
	if s.peek() != ':' {
		return false
	}
	s.pos++
	s.skipSpace()
	return true
}

// str reads a string literal; info may be nil.
func (s *scanner) str(info *stringInfo) bool {
	s.pos++
	var n stringInfo
	high := false // the unit before was an escaped high surrogate
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		units, joins := 1, false
		switch {
		case c == '"':
			s.pos++
			if info != nil {
				*info = n
			}
			return true
		case c < 0x20:
			return false
		case c == '\\':
			r, ok := s.escape()
			if !ok {
				return false
			}
			joins = high && r >= 0xDC00 && r < 0xE000
			high = !joins && r >= 0xD800 && r < 0xDC00
		case c < utf8.RuneSelf:
			s.pos++
			high = false
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r > 0xFFFF {
				units = 2
			}
			s.pos += size
			high = false
		}
		n.units += units
		if !joins {
			n.points++
		}
		// A low surrogate that follows moves the mark behind itself.
		if n.points == MaxPromptPoints {
			n.cut = s.pos
		}
	}
	return false
}

// escape reads a backslash sequence and returns the UTF-16 unit it stands for.
func (s *scanner) escape() (unit rune, ok bool) {
	if s.pos+1 >= len(s.data) {
		return 0, false
	}
	c := s.data[s.pos+1]
	s.pos += 2
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return rune(c), true
	case 'u':
		if s.pos+4 > len(s.data) {
			return 0, false
		}
		for _, d := range s.data[s.pos : s.pos+4] {
			switch {
			case d >= '0' && d <= '9':
				unit = unit<<4 | rune(d-'0')
			case d >= 'a' && d <= 'f':
				unit = unit<<4 | rune(d-'a'+10)
			case d >= 'A' && d <= 'F':
				unit = unit<<4 | rune(d-'A'+10)
			default:
				return 0, false
			}
		}
		s.pos += 4
		return unit, true
	}
	return 0, false
}

// literal reads a number, true, false or null.
func (s *scanner) literal() bool {
	for _, word := range [...]string{"true", "false", "null"} {
		if len(s.data)-s.pos >= len(word) && string(s.data[s.pos:s.pos+len(word)]) == word {
			s.pos += len(word)
			return true
		}
	}
	if s.peek() == '-' {
		s.pos++
	}
	switch {
	case s.peek() == '0':
		s.pos++
	case !s.digits():
		return false
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// text decodes a string literal that the scanner has accepted.
func text(raw []byte) string {
	for _, c := range raw {
		if c == '\\' || c >= utf8.RuneSelf {
			var out string
			_ = json.Unmarshal(raw, &out) // the scanner has checked the grammar
			return out
		}
	}
	return string(raw[1 : len(raw)-1])
}

// UnitCount is the length of s in UTF-16 units, which is how the protocol measures
// text.
func UnitCount(s string) int {
	n := 0
	for _, r := range s {
		if n++; r > 0xFFFF {
			n++
		}
	}
	return n
}

// TruncatePoints cuts s after max code points.
func TruncatePoints(s string, max int) string {
	if len(s) <= max {
		return s
	}
	n := 0
	for i := range s {
		if n == max {
			return s[:i]
		}
		n++
	}
	return s
}
