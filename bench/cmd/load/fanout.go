package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// fanOut streams one talkative run to many sockets. The readers count frames and
// check the last number; decoding every frame would measure this program.
func fanOut(ctx context.Context, g *gateway, o options) ([]figure, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	runID, err := g.Launch(ctx, "chat", map[string]any{"lines": o.lines})
	if err != nil {
		return nil, err
	}
	if err := parked(ctx, g, runID); err != nil { // so that all sockets begin at one event
		return nil, err
	}
	listeners := make([]*listener, o.sockets)
	for i := range listeners {
		if listeners[i], err = listen(ctx, g, runID); err != nil {
			return nil, fmt.Errorf("socket %d: %w", i, err)
		}
		defer listeners[i].conn.CloseNow()
	}
	begin := time.Now()
	var wg sync.WaitGroup
	errs := make([]error, len(listeners))
	for i, l := range listeners {
		wg.Go(func() { errs[i] = l.toTheEnd(ctx) })
	}
	if err := g.Call(ctx, "submitApproval", map[string]any{"runId": runID, "nodeId": "go", "approved": true}, nil); err != nil {
		return nil, err
	}
	wg.Wait()
	took := time.Since(begin).Seconds()
	total := 0
	for i, l := range listeners {
		if errs[i] != nil {
			return nil, fmt.Errorf("socket %d after %d frames: %w", i, l.events, errs[i])
		}
		if l.events != listeners[0].events {
			return nil, fmt.Errorf("socket %d got %d events, socket 0 got %d", i, l.events, listeners[0].events)
		}
		total += l.events
	}
	return []figure{
		{"events appended by one run, streamed live", float64(listeners[0].events) / took, "events/s"},
		{fmt.Sprintf("events delivered to %d sockets", o.sockets), float64(total) / took, "frames/s"},
	}, nil
}

// parked waits until the run asks whether to begin.
func parked(ctx context.Context, g *gateway, runID string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := g.Run(ctx, runID)
		if err != nil {
			return err
		}
		if run.Status == "waiting-approval" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the run is %s: %w", run.Status, ctx.Err())
		}
	}
}

// listener is one socket that streams the run.
type listener struct {
	conn   *websocket.Conn
	buf    bytes.Buffer
	events int
}

func listen(ctx context.Context, g *gateway, runID string) (*listener, error) {
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(g.Base, "http")+"/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{}},
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(16 << 20)
	l := &listener{conn: conn}
	for id, request := range []map[string]any{
		{"method": "connect", "params": map[string]any{
			"minProtocol": 1, "maxProtocol": 1, "client": map[string]string{"id": "load"},
			"auth": map[string]string{"token": g.Token}, "subscribe": []string{runID},
		}},
		{"method": "streamRunEvents", "params": map[string]any{"runId": runID}},
	} {
		request["type"], request["id"] = "req", fmt.Sprint(id)
		data, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		if err := conn.Write(ctx, websocket.MessageText, data); err != nil {
			return nil, err
		}
		if err := l.answer(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// answer reads up to the next response.
func (l *listener) answer(ctx context.Context) error {
	for {
		frame, err := l.next(ctx)
		if err != nil {
			return err
		}
		if bytes.Contains(frame[:min(len(frame), 64)], []byte(`"type":"res"`)) {
			if !bytes.Contains(frame, []byte(`"ok":true`)) {
				return fmt.Errorf("refused: %s", frame)
			}
			return nil
		}
	}
}

func (l *listener) next(ctx context.Context) ([]byte, error) {
	_, r, err := l.conn.Reader(ctx)
	if err != nil {
		return nil, err
	}
	l.buf.Reset()
	_, err = io.Copy(&l.buf, r)
	return l.buf.Bytes(), err
}

func (l *listener) toTheEnd(ctx context.Context) error {
	for {
		frame, err := l.next(ctx)
		if err != nil {
			return err
		}
		if bytes.Contains(frame, []byte(`"run.error"`)) || bytes.Contains(frame, []byte(`"run.gap_resync"`)) {
			return fmt.Errorf("not served in full: %.300s", frame)
		}
		if !bytes.Contains(frame, []byte(`"RunEvent"`)) {
			continue
		}
		l.events++
		if bytes.Contains(frame, []byte(`"run.completed"`)) {
			return nil
		}
	}
}
