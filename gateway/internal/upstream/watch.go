package upstream

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Times of the socket that wakes readers.
const (
	firstRetry   = 50 * time.Millisecond
	lastRetry    = 5 * time.Second
	connectLimit = 10 * time.Second
	silence      = time.Minute // without a frame, ticks included, the socket is dead
	ticksMissed  = 3           // where ticks come more seldom: as many
	lastSilence  = time.Hour
)

// follow keeps a socket to a source and sweeps it until ctx ends.
func (f *Federation) follow(ctx context.Context, a *attached) {
	var work sync.WaitGroup
	defer work.Wait()
	connected := make(chan struct{}, 1)
	work.Go(func() { f.sweep(ctx, a, connected) })
	if elsewhere, ok := a.source.(*Remote); ok {
		work.Go(func() { f.watchElsewhere(ctx, elsewhere) })
	}
	if from, ok := a.source.(source.Feeder); ok {
		work.Go(func() {
			f.keep(ctx, a, "feed", func() error { return f.takeFeed(ctx, a, from, connected) })
		})
	}
	f.keep(ctx, a, "socket", func() error { return f.listen(ctx, a, connected) })
}

// keep has a connection to a source, again and again while it is ready, until ctx ends.
func (f *Federation) keep(ctx context.Context, a *attached, kind string, connection func() error) {
	updates, stop := a.source.Watch()
	defer stop()
	ready := false
	for retry := firstRetry; ; {
		for !ready {
			select {
			case s := <-updates:
				ready = s.State == source.Ready
			case <-ctx.Done():
				return
			}
		}
		began := time.Now()
		err := connection()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			retry = firstRetry
		}
		f.logger.Debug("the "+kind+" of Smithers has ended", zap.String("source", a.source.ID()), zap.Error(err))
		t := time.NewTimer(retry)
		select {
		case <-t.C:
		case s := <-updates: // a new process needs no patience
			ready, retry = s.State == source.Ready, firstRetry
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
		retry = min(2*retry, lastRetry)
	}
}

// listen wakes the readers of runs that the source pushes events of.
func (f *Federation) listen(ctx context.Context, a *attached, connected chan<- struct{}) error {
	conn, err := a.connect(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		_ = conn.Close()
	}()
	for quiet := silence; ; {
		if err := conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return err
		}
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		a.hear()
		id, name, hello := pushedRun(frame)
		switch {
		case hello == connectID:
			quiet = quietAllowed(frame)
			notify(connected)
		case id != "":
			f.pushed(a, id, name)
		}
	}
}

// pushed has the log of a run read of which something was pushed. What a source has
// handed over it pushes too: then only the end of a run, which may come without an
// event, is looked after.
func (f *Federation) pushed(a *attached, runID, name string) {
	switch {
	case !a.fed.Load():
		f.Wake(runID)
	case name == wire.EventRunCompleted:
		f.nudge(a, runID, (*store.UpstreamRun).Ended)
	}
}

const connectID = "federate"

// connect opens a socket and asks for everything that is pushed, or only for what is
// about some runs.
func (p *peer) connect(ctx context.Context, runs ...string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	dialer := websocket.Dialer{
		NetDialContext:   func(ctx context.Context, _, _ string) (net.Conn, error) { return p.source.Dial(ctx) },
		HandshakeTimeout: connectLimit,
	}
	url := "ws" + strings.TrimPrefix(p.source.BaseURL(), "http") + "/"
	conn, resp, err := dialer.DialContext(ctx, url, headers(p.source.Identity(), source.System))
	if resp != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxAnswer)
	params := map[string]any{"minProtocol": 1, "maxProtocol": 1,
		"client": map[string]any{"id": "smithers-gateway-caddy", "version": wire.APIVersion, "platform": "gateway"}}
	if len(runs) > 0 {
		params["subscribe"] = runs
	}
	if bearer := p.source.Identity().Bearer; bearer != "" {
		params["auth"] = map[string]any{"token": bearer}
	}
	err = conn.SetWriteDeadline(time.Now().Add(connectLimit))
	if err == nil {
		err = conn.WriteJSON(map[string]any{"type": "req", "id": connectID, "method": wire.MethodConnect, "params": params})
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// notify puts a token into a channel of one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// mustJSON encodes a value that JSON can always hold.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
