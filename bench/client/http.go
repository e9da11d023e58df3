package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// HTTP is one kept-alive connection that sends the same request again and again.
type HTTP struct {
	conn net.Conn
	r    *bufio.Reader
	req  []byte
	body []byte
}

// Post prepares POST requests to a path. token may be empty.
func Post(addr, path, token string, body []byte) (*HTTP, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	var req bytes.Buffer
	fmt.Fprintf(&req, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, addr, len(body))
	if token != "" {
		fmt.Fprintf(&req, "Authorization: Bearer %s\r\n", token)
	}
	req.WriteString("\r\n")
	req.Write(body)
	return &HTTP{conn: conn, r: bufio.NewReaderSize(conn, 16<<10), req: req.Bytes()}, nil
}

// Do sends the request and returns the body of the answer, which must be 200 and is
// valid until the next call.
func (h *HTTP) Do() ([]byte, error) {
	_ = h.conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := h.conn.Write(h.req); err != nil {
		return nil, err
	}
	size, status := -1, ""
	for first := true; ; first = false {
		line, err := h.r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			status = string(line)
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")) {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return nil, err
			}
		}
	}
	if size < 0 {
		return nil, errors.New("an answer without Content-Length")
	}
	if cap(h.body) < size {
		h.body = make([]byte, size)
	}
	h.body = h.body[:size]
	if _, err := io.ReadFull(h.r, h.body); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix([]byte(status), []byte("HTTP/1.1 200")) {
		return nil, fmt.Errorf("%s: %.200s", status, h.body)
	}
	return h.body, nil
}

// Close ends the connection.
func (h *HTTP) Close() { _ = h.conn.Close() }
