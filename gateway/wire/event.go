package wire

import "strconv"

// Event frames are assembled by hand: one event goes to many connections, and only
// the head (stream id) and the tail (seq, stateVersion) differ between them. All
// functions append to dst, which the connection reuses, and allocate nothing when
// it is large enough. Payloads are JSON; an empty one becomes null.

// AppendEventHead appends a plain event frame up to its payload.
func AppendEventHead(dst []byte, event string) []byte {
	dst = AppendString(append(dst, `{"type":"event","event":`...), event)
	return append(dst, `,"payload":`...)
}

// AppendEventTail appends what follows the payload of any event frame: the frame
// number of the connection and the stateVersion at send time.
func AppendEventTail(dst []byte, seq, stateVersion int64) []byte {
	dst = strconv.AppendInt(append(dst, `,"seq":`...), seq, 10)
	dst = strconv.AppendInt(append(dst, `,"stateVersion":`...), stateVersion, 10)
	return append(dst, eventEnd...)
}

const eventEnd = `,"apiVersion":"` + APIVersion + `"}`

// AppendEvent appends a whole plain event frame.
func AppendEvent(dst []byte, event string, payload []byte, seq, stateVersion int64) []byte {
	return AppendEventTail(appendPayload(AppendEventHead(dst, event), payload), seq, stateVersion)
}

// AppendHeartbeat appends a run.heartbeat frame. It carries no event and no run
// seq; ts is epoch milliseconds.
func AppendHeartbeat(dst []byte, streamID, runID string, ts, seq, stateVersion int64) []byte {
	dst = append(dst, `{"type":"event","event":"`+EventRunHeartbeat+`","payload":{"apiVersion":"`+APIVersion+
		`","type":"Heartbeat","streamId":`...)
	dst = AppendString(dst, streamID)
	dst = AppendString(append(dst, `,"runId":`...), runID)
	dst = strconv.AppendInt(append(dst, `,"ts":`...), ts, 10)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// AppendGapResync appends a run.gap_resync frame: the events from..to of the run
// are lost, snapshot (JSON, null when the run is gone) stands in for them.
func AppendGapResync(dst []byte, streamID, runID string, from, to int64, snapshot []byte, seq, stateVersion int64) []byte {
	dst = append(dst, `{"type":"event","event":"`+EventRunGapResync+`","payload":{"apiVersion":"`+APIVersion+
		`","type":"GapResync","streamId":`...)
	dst = AppendString(dst, streamID)
	dst = AppendString(append(dst, `,"runId":`...), runID)
	dst = strconv.AppendInt(append(dst, `,"fromSeq":`...), from, 10)
	dst = strconv.AppendInt(append(dst, `,"toSeq":`...), to, 10)
	dst = appendPayload(append(dst, `,"snapshot":`...), snapshot)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// AppendRunError appends a run.error frame: the stream is gone, the socket stays.
func AppendRunError(dst []byte, streamID, runID string, err *Error, seq, stateVersion int64) []byte {
	dst = append(dst, `{"type":"event","event":"`+EventRunError+`","payload":{"streamId":`...)
	dst = AppendString(dst, streamID)
	dst = AppendString(append(dst, `,"runId":`...), runID)
	dst = appendError(append(dst, `,"error":`...), err)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// AppendTick appends a tick frame; ts is epoch milliseconds.
func AppendTick(dst []byte, ts, seq, stateVersion int64) []byte {
	dst = strconv.AppendInt(append(dst, `{"type":"event","event":"`+EventTick+`","payload":{"ts":`...), ts, 10)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// AppendChallenge appends the connect.challenge frame that opens a socket. The
// nonce is informational.
func AppendChallenge(dst []byte, nonce string, ts, seq, stateVersion int64) []byte {
	dst = append(dst, `{"type":"event","event":"`+EventChallenge+`","payload":{"nonce":`...)
	dst = AppendString(dst, nonce)
	dst = strconv.AppendInt(append(dst, `,"ts":`...), ts, 10)
	return AppendEventTail(append(dst, '}'), seq, stateVersion)
}

// BackpressureError is the run.error of a stream that fell too far behind.
func BackpressureError(events int) *Error {
	return Errorf(CodeBackpressure,
		"Run event stream fell more than %d events behind; disconnecting slow consumer.", events)
}
