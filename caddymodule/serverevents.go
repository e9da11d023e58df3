package caddymodule

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// serverEvent is one server-sent event; retry is set on its own.
type serverEvent struct {
	name  string
	data  []byte
	retry time.Duration
}

// maxServerEvent bounds one line of a stream.
const maxServerEvent = 4 << 20

// readEvents hands the events of a stream to each until it ends or each fails. The end
// of the stream is no error.
func readEvents(body io.Reader, each func(serverEvent) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxServerEvent)
	var e serverEvent
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if e.name != "" || e.retry > 0 {
				if err := each(e); err != nil {
					return err
				}
			}
			e = serverEvent{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		case "retry":
			if ms, err := strconv.Atoi(string(value)); err == nil && ms > 0 {
				e.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return nil
}
