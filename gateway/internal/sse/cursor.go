package sse

import (
	"net/http"
	"strconv"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxCursor is the largest number that every JSON reader holds exactly.
const maxCursor = 1 << 53

// Cursor reads where a stream is to start: the Last-Event-ID header of a client that
// comes back, else the query's afterSeq. nil means live only. An empty value equals
// an absent one.
func Cursor(r *http.Request) (*int64, *wire.Error) {
	if v := r.Header.Get("Last-Event-ID"); v != "" {
		if n, ok := nonNegative(v); ok {
			return &n, nil
		}
		return nil, wire.Errorf(wire.CodeInvalidInput, "Last-Event-ID must be a non-negative integer.")
	}
	v := r.URL.Query().Get("afterSeq")
	if v == "" {
		return nil, nil
	}
	if n, ok := nonNegative(v); ok {
		return &n, nil
	}
	return nil, wire.Errorf(wire.CodeSeqOutOfRange, "afterSeq must be a non-negative integer")
}

// nonNegative accepts digits only.
func nonNegative(text string) (int64, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err == nil && n <= maxCursor
}
