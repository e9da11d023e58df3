package client

import (
	"bytes"
	"errors"
	"fmt"
)

// tail is how far from its end a frame holds the number of its event. A run.event ends
// with both its number and the frame's, and takes about 90 of them.
const tail = 128

var seqName = []byte(`"seq":`)

// find is where the number of the event is named, the first member "seq" of the last 128
// bytes of a frame; -1: nowhere.
func find(frame []byte) int {
	from := max(0, len(frame)-tail)
	i := bytes.Index(frame[from:], seqName)
	if i < 0 {
		return i
	}
	return from + i
}

// number is the number of the event in a frame. It is looked for first where the frame before had it, as far from the end:
// searching each frame anew took a quarter of the client's time.
func (s *Socket) number(frame []byte) (int64, bool) {
	i := len(frame) - s.fromEnd
	if s.fromEnd == 0 || i < 0 || !bytes.HasPrefix(frame[i:], seqName) {
		if i = find(frame); i < 0 {
			return 0, false
		}
		s.fromEnd = len(frame) - i
	}
	return digits(frame[i+len(seqName):])
}

// After is the number that follows the first occurrence of a mark in a frame.
func After(frame, mark []byte) (int64, bool) {
	i := bytes.Index(frame, mark)
	if i < 0 {
		return 0, false
	}
	return digits(frame[i+len(mark):])
}

func digits(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+int64(c-'0'), true
	}
	return n, ok
}

// ErrRefused is wrapped when the server says that it does not deliver: an error, a gap.
var ErrRefused = errors.New("not served in full")

var bad = [][]byte{[]byte(`"event":"run.error"`), []byte(`"event":"run.gap_resync"`), []byte(`"ok":false`), []byte(`"disconnect":`), []byte(`"error":{`)}

// Check looks at a message that is no event: does it say that the server refuses?
func Check(message []byte) error {
	for _, b := range bad {
		if bytes.Contains(message, b) {
			return fmt.Errorf("%w: %.300s", ErrRefused, message)
		}
	}
	return nil
}

// Stream says how a peer's events look and where its numbers are.
type Stream struct {
	Prefix []byte // of every frame that holds an event
	Lines  bool   // a message may hold several frames, one a line (Centrifuge)
}

// RunEvents are those of the gateway, of the original, and of the bare loop that
// imitates them.
var RunEvents = Stream{Prefix: []byte(`{"type":"event","event":"run.event"`)}

// Publications are those of Centrifuge in its JSON protocol.
var Publications = Stream{Prefix: []byte(`{"push":{"channel":`), Lines: true}

// Burst reads until it has seen n events with consecutive numbers, calling each for
// every frame (nil: not). A missing or repeated number is an error, as is anything that
// says the stream has ended. The first number ever seen on a socket may be any.
func (s *Socket) Burst(st Stream, n int, each func(frame []byte)) error {
	for n > 0 {
		message, err := s.Next()
		if err != nil {
			return fmt.Errorf("after number %d, %d to go: %w", s.last, n, err)
		}
		for len(message) > 0 {
			frame := message
			message = nil
			if st.Lines {
				if i := bytes.IndexByte(frame, '\n'); i >= 0 {
					frame, message = frame[:i], frame[i+1:]
				}
			}
			if !bytes.HasPrefix(frame, st.Prefix) {
				if err := s.other(st, frame); err != nil {
					return err
				}
				continue
			}
			number, ok := s.number(frame)
			if !ok {
				return fmt.Errorf("a frame without a number: %.300s", frame)
			}
			if s.last != 0 && number != s.last+1 {
				return fmt.Errorf("number %d follows %d", number, s.last)
			}
			s.last = number
			if each != nil {
				each(frame)
			}
			n--
		}
	}
	return nil
}

// other looks at a frame that holds no event.
func (s *Socket) other(st Stream, frame []byte) error {
	if st.Lines && string(frame) == "{}" { // Centrifuge asks whether we live
		return s.Write(frame)
	}
	return Check(frame)
}

// Restart forgets the last number: the next burst may begin anywhere.
func (s *Socket) Restart() { s.last = 0 }

// Last is the number of the last event.
func (s *Socket) Last() int64 { return s.last }
