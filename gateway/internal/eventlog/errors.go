package eventlog

import (
	"errors"
	"fmt"
)

var (
	// ErrRunNotFound is returned by Attach for a run that does not exist, and by
	// Cursor.Next for one that was removed.
	ErrRunNotFound = errors.New("eventlog: run not found")
	// ErrLagged is returned by Cursor.Next once the cursor is further behind than
	// allowed. The cursor is of no use afterwards.
	ErrLagged = errors.New("eventlog: cursor lags too far behind")
	// ErrFellOff is returned by PlainCursor.Next when events it has not read have
	// left the ring.
	ErrFellOff = errors.New("eventlog: cursor fell off the ring")
	// ErrClosed is returned after Close or Detach.
	ErrClosed = errors.New("eventlog: closed")
	// ErrSeqOutOfRange matches every *SeqOutOfRangeError.
	ErrSeqOutOfRange = errors.New("eventlog: seq out of range")
)

// SeqOutOfRangeError says that a cursor was never issued.
type SeqOutOfRangeError struct{ AfterSeq, CurrentSeq int64 }

func (e *SeqOutOfRangeError) Error() string {
	return fmt.Sprintf("eventlog: afterSeq %d is newer than current seq %d", e.AfterSeq, e.CurrentSeq)
}

// Is makes errors.Is(err, ErrSeqOutOfRange) true.
func (e *SeqOutOfRangeError) Is(target error) bool { return target == ErrSeqOutOfRange }
