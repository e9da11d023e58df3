package wire

// RunEvents makes the run.event frames of one stream. It keeps what one frame has in common
// with the one before. Not safe for concurrent use.
type RunEvents struct {
	head         []byte // of a frame, up to the payload of its event
	common       int    // bytes of head, up to the name of the event
	event        string // that head names
	seq, version Digits
}

// NewRunEvents prepares the frames of a stream.
func NewRunEvents(streamID, runID string) *RunEvents {
	head := AppendString([]byte(`{"type":"event","event":"`+EventRun+`","payload":{"streamId":`), streamID)
	head = AppendString(append(head, `,"apiVersion":"`+APIVersion+`","type":"RunEvent","runId":`...), runID)
	head = append(head, `,"event":`...)
	return &RunEvents{head: head, common: len(head)}
}

// Append appends the frame of an event, with the run's own seq and the stateVersion of the
// event; an EventTail must follow.
func (r *RunEvents) Append(dst []byte, event string, payload []byte, seq, stateVersion int64) []byte {
	if event != r.event || len(r.head) == r.common {
		r.event = event
		r.head = append(AppendString(r.head[:r.common], event), `,"payload":`...)
	}
	dst = appendPayload(append(dst, r.head...), payload)
	dst = r.seq.Append(append(dst, `,"seq":`...), seq)
	dst = r.version.Append(append(dst, `,"stateVersion":`...), stateVersion)
	return append(dst, '}')
}

// EventTail is AppendEventTail for the frames of one connection. The zero value is ready. Not
// safe for concurrent use.
type EventTail struct{ seq, version Digits }

// Append appends the tail: see AppendEventTail.
func (t *EventTail) Append(dst []byte, seq, stateVersion int64) []byte {
	dst = t.seq.Append(append(dst, `,"seq":`...), seq)
	dst = t.version.Append(append(dst, `,"stateVersion":`...), stateVersion)
	return append(dst, eventEnd...)
}

// AppendRunEvent appends one whole run.event frame.
func AppendRunEvent(dst []byte, streamID, runID, event string, payload []byte,
	runSeq, eventVersion, seq, stateVersion int64,
) []byte {
	dst = NewRunEvents(streamID, runID).Append(dst, event, payload, runSeq, eventVersion)
	return AppendEventTail(dst, seq, stateVersion)
}
