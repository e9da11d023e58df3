package sse

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// eventOpened is the first event of every stream: what answers streamRunEvents on a
// socket.
const eventOpened = "run.stream"

// frames writes the events of one stream. The data of each is the payload that the
// frame of the same name has on a socket.
type frames struct {
	streamID, runID string
	head            []byte // of a run.event, up to the event's name
}

func newFrames(streamID, runID string) *frames {
	f := &frames{streamID: streamID, runID: runID}
	b := wire.AppendString([]byte("event: "+wire.EventRun+"\ndata: {\"streamId\":"), streamID)
	b = wire.AppendString(append(b, `,"apiVersion":"`+wire.APIVersion+`","type":"RunEvent","runId":`...), runID)
	f.head = append(b, `,"event":`...)
	return f
}

// id begins an event that the client is to come back with. Only events that may be
// named as a cursor have one.
func (f *frames) id(dst []byte, seq int64) []byte {
	return append(strconv.AppendInt(append(dst, "id: "...), seq, 10), '\n')
}

// opened carries the cursor the stream starts from, so that a client that loses its
// connection before the first event misses nothing either.
func (f *frames) opened(dst []byte, after *int64, current int64) []byte {
	from := current
	if after != nil {
		from = *after
	}
	dst = wire.AppendString(append(f.id(dst, from), "event: "+eventOpened+"\ndata: {\"streamId\":"...), f.streamID)
	dst = wire.AppendString(append(dst, `,"runId":`...), f.runID)
	dst = append(dst, `,"afterSeq":`...)
	if after == nil {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, *after, 10)
	}
	return append(strconv.AppendInt(append(dst, `,"currentSeq":`...), current, 10), "}\n\n"...)
}

func (f *frames) event(dst []byte, ev *eventlog.Event) []byte {
	dst = append(f.id(dst, ev.Seq), f.head...)
	dst = append(wire.AppendString(dst, ev.Name), `,"payload":`...)
	dst = appendJSON(dst, ev.Payload)
	dst = strconv.AppendInt(append(dst, `,"seq":`...), ev.Seq, 10)
	return append(strconv.AppendInt(append(dst, `,"stateVersion":`...), ev.StateVersion, 10), "}\n\n"...)
}

// gap has the id of the last lost event: what was lost is not asked for again.
func (f *frames) gap(dst []byte, g eventlog.Gap, snapshot []byte) []byte {
	dst = append(f.id(dst, g.To), "event: "+wire.EventRunGapResync+"\ndata: {\"apiVersion\":\""+wire.APIVersion+
		"\",\"type\":\"GapResync\",\"streamId\":"...)
	dst = wire.AppendString(append(wire.AppendString(dst, f.streamID), `,"runId":`...), f.runID)
	dst = strconv.AppendInt(append(dst, `,"fromSeq":`...), g.From, 10)
	dst = strconv.AppendInt(append(dst, `,"toSeq":`...), g.To, 10)
	return append(appendJSON(append(dst, `,"snapshot":`...), snapshot), "}\n\n"...)
}

func (f *frames) heartbeat(dst []byte, ts int64) []byte {
	dst = append(dst, "event: "+wire.EventRunHeartbeat+"\ndata: {\"apiVersion\":\""+wire.APIVersion+
		"\",\"type\":\"Heartbeat\",\"streamId\":"...)
	dst = wire.AppendString(append(wire.AppendString(dst, f.streamID), `,"runId":`...), f.runID)
	return append(strconv.AppendInt(append(dst, `,"ts":`...), ts, 10), "}\n\n"...)
}

func (f *frames) failure(dst []byte, failure *wire.Error) []byte {
	dst = append(dst, "event: "+wire.EventRunError+"\ndata: {\"streamId\":"...)
	dst = wire.AppendString(append(wire.AppendString(dst, f.streamID), `,"runId":`...), f.runID)
	text, err := json.Marshal(failure)
	if err != nil { // an extra that JSON cannot hold
		text, _ = json.Marshal(wire.Errorf(failure.Code, "%s", failure.Message))
	}
	return append(append(append(dst, `,"error":`...), text...), "}\n\n"...)
}

// retry tells the client how many milliseconds to wait before it comes back.
func (f *frames) retry(dst []byte, ms int64) []byte {
	return append(strconv.AppendInt(append(dst, "retry: "...), ms, 10), "\n\n"...)
}

// appendJSON appends JSON on one line: a line feed would end the data.
func appendJSON(dst, raw []byte) []byte {
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return append(dst, raw...)
	}
	b := bytes.NewBuffer(dst)
	if json.Compact(b, raw) != nil {
		return append(dst, "null"...)
	}
	return b.Bytes()
}
