package upstream

import (
	"errors"
	"fmt"
	"io"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// shortener reads JSON and leaves out what exceeds most bytes of a string in it: of a long
// output in an event no more is kept than an event may have. Whole characters and whole
// escapes are left out, so that the rest is JSON still.
type shortener struct {
	r    io.Reader
	most int
	read int64 // bytes of r

	inside bool // a string
	length int  // of what was kept of it
	escape int  // of the escape: escapeBegun, or digits that are to come
	cut    bool // this character is left out
}

const escapeBegun = -1

// Read is that of an io.Reader.
func (s *shortener) Read(p []byte) (int, error) {
	for {
		n, err := s.r.Read(p)
		s.read += int64(n)
		kept := p[:0]
		for _, b := range p[:n] {
			if s.keeps(b) {
				kept = append(kept, b)
			}
		}
		if len(kept) > 0 || err != nil || n == 0 {
			return len(kept), err
		}
	}
}

func (s *shortener) keeps(b byte) bool {
	switch {
	case !s.inside:
		s.inside, s.length, s.escape = b == '"', 0, 0
		return true
	case s.escape > 0:
		s.escape--
	case s.escape == escapeBegun:
		if s.escape = 0; b == 'u' {
			s.escape = 4
		}
	case b == '"':
		s.inside = false
		return true
	case b&0xC0 == 0x80: // goes on with a character
	default:
		s.cut = s.length >= s.most
		if b == '\\' {
			s.escape = escapeBegun
		}
	}
	if !s.cut {
		s.length++
	}
	return !s.cut
}

// readBody reads the body of an answer. errTooLarge: it has more than is read.
type readBody func(io.Reader) ([]byte, error)

// errTooLarge marks an answer with more bytes than are read.
var errTooLarge = errors.New("too large")

// Bounds of a page that is read in part.
const (
	perByte = 6       // bytes that one of a text may take in JSON: as an escape
	maxLong = 1 << 30 // bytes that are read of the page
)

// readUpTo reads an answer whole.
func readUpTo(most int) readBody {
	return func(r io.Reader) ([]byte, error) {
		text, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
		if err == nil && len(text) > most {
			err = tooLarge(most)
		}
		return text, err
	}
}

// readShortened reads an answer without the ends of its long texts, up to most bytes.
func readShortened(text, most int) readBody {
	return func(r io.Reader) ([]byte, error) {
		s := &shortener{r: io.LimitReader(r, maxLong+1), most: text}
		kept, err := readUpTo(most)(s)
		if s.read > maxLong {
			err = tooLarge(maxLong)
		}
		return kept, err
	}
}

func tooLarge(most int) error {
	return fmt.Errorf("%w: %w", errTooLarge, wire.Errorf(wire.CodePayloadTooLarge, "The answer of Smithers has more than %d bytes.", most))
}
