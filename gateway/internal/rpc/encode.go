package rpc

import (
	"bytes"
	"encoding/json"
	"sync"
)

// encode marshals without escaping the characters that only matter inside HTML.
func encode(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	e := encoders.Get().(*encoder)
	defer e.put()
	if err := e.json.Encode(v); err != nil {
		return nil, err
	}
	return bytes.Clone(bytes.TrimSuffix(e.buf.Bytes(), []byte("\n"))), nil
}

// encoder is a JSON encoder with the buffer it writes to, which answers share one after
// the other: growing a new one makes twice as much garbage as the answer.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.json = json.NewEncoder(&e.buf)
	e.json.SetEscapeHTML(false)
	return e
}}

// keptBuffer bounds the buffers that are kept, in bytes.
const keptBuffer = 64 << 10

func (e *encoder) put() {
	if e.buf.Cap() <= keptBuffer {
		e.buf.Reset()
		encoders.Put(e)
	}
}
