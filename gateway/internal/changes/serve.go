package changes

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Request is who wants the stream.
type Request struct {
	User string // key of the cap per user
	Conn string // key of the cap per connection; "": none
	// Recheck reports why the caller's grant no longer holds; nil: it always does.
	Recheck func() *wire.Error
	// Exiting reports that the process is about to end; nil: never. Asked at every
	// heartbeat.
	Exiting func() bool
}

// maxCursor is the largest number that every JSON reader holds exactly.
const maxCursor = 1 << 53

// Cursor reads where a client left off: the Last-Event-ID header, else the query's
// lastEventId. nil means that it has not been here before.
func Cursor(r *http.Request) (*int64, *wire.Error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("lastEventId")
	}
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n > maxCursor {
		return nil, wire.Errorf(wire.CodeInvalidInput, "Last-Event-ID must be a non-negative integer.")
	}
	cursor := int64(n)
	return &cursor, nil
}

// Clients of a gateway that goes away come back within this time, not all at once.
const (
	retryLeast  = time.Second
	retrySpread = 4 * time.Second
)

// Serve answers the request with the stream and returns when it has ended, or returns
// why there is none, before anything was written. The caller has authenticated the
// request and checked its scope.
func (b *Broker) Serve(w http.ResponseWriter, r *http.Request, q Request) *wire.Error {
	cursor, failure := Cursor(r)
	if failure != nil {
		return failure
	}
	if failure := b.enter(&q); failure != nil {
		return failure
	}
	defer b.leave(&q)
	b.stream(w, r, &q, cursor)
	return nil
}

func (b *Broker) enter(q *Request) *wire.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return wire.Errorf(wire.CodeUnavailable, "The gateway is starting or stopping; try again.").With("retryable", true)
	}
	for _, c := range [...]struct {
		scope      string
		have, most int
	}{{"global", b.streams, capGlobal}, {"user", b.byUser[q.User], capUser}, {"connection", b.byConn[q.Conn], capConnection}} {
		if c.have >= c.most {
			return wire.Errorf(wire.CodeRateLimited, "Gateway SSE subscriber limit reached (%s cap of %d).", c.scope, c.most).
				With("details", map[string]any{"scope": c.scope, "limit": c.most})
		}
	}
	b.streams++
	b.byUser[q.User]++
	if q.Conn != "" {
		b.byConn[q.Conn]++
	}
	return nil
}

func (b *Broker) leave(q *Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams--
	release(b.byUser, q.User)
	if q.Conn != "" {
		release(b.byConn, q.Conn)
	}
}

func release(counts map[string]int, key string) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// stream writes until the client leaves or is too slow, its grant has gone, or the
// gateway goes away. A client that falls behind the ring is told to fetch everything.
func (b *Broker) stream(w http.ResponseWriter, r *http.Request, q *Request, cursor *int64) {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no")
	if r.ProtoMajor == 1 {
		// The deadline of the last write stays on the connection, so that not even the
		// end of the body can block.
		header.Set("Connection", "close")
	}
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	send := func(text []byte) bool {
		if len(text) == 0 {
			return true
		}
		deadline := time.Now().Add(b.opts.Load().WriteTimeout)
		if err := rc.SetWriteDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return false
		}
		if _, err := w.Write(text); err != nil {
			return false
		}
		err := rc.Flush()
		return err == nil || errors.Is(err, http.ErrNotSupported)
	}
	position := b.Seq()
	if cursor != nil {
		position = *cursor
	}
	changed := b.grants()
	buf, position, news := b.after(nil, position)
	buf = appendHeartbeat(buf, position)
	beat := time.NewTimer(b.opts.Load().Heartbeat)
	defer beat.Stop()
	for send(buf) {
		buf = buf[:0]
		select {
		case <-news:
			buf, position, news = b.after(buf, position)
		case <-r.Context().Done():
			return
		case <-b.done:
			send(retry())
			return
		case <-changed:
			changed = b.grants()
			if q.revoked() {
				return
			}
		case <-beat.C:
			beat.Reset(b.opts.Load().Heartbeat)
			if q.revoked() { // it may have expired
				return
			}
			if q.Exiting != nil && q.Exiting() {
				send(retry())
				return
			}
			buf = appendHeartbeat(buf, position)
		}
	}
}

func (q *Request) revoked() bool { return q.Recheck != nil && q.Recheck() != nil }

func retry() []byte {
	pause := (retryLeast + rand.N(retrySpread)).Milliseconds()
	return append(strconv.AppendInt([]byte("retry: "), pause, 10), "\n\n"...)
}
