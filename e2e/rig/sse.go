package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// Events is the stream of a run as server-sent events.
type Events struct {
	body  io.ReadCloser
	stop  context.CancelFunc
	retry atomic.Bool
}

// Events opens a stream of a run behind a number. It ends with the test.
func (p *Process) Events(run string, after int64) *Events {
	p.T.Helper()
	e, err := OpenEvents(context.Background(), p.Client, run, after)
	require.NoError(p.T, err)
	p.T.Cleanup(e.stop)
	return e
}

// OpenEvents opens a stream of a run behind a number, over a connection of its own,
// until ctx ends.
func OpenEvents(ctx context.Context, c *client.Client, run string, after int64) (*Events, error) {
	ctx, cancel := context.WithCancel(ctx)
	url := c.Base + "/v1/api/runs/" + run + "/stream?afterSeq=" + strconv.FormatInt(after, 10)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1_000)) // for the message only
		return nil, fmt.Errorf("stream of %s: %s: %s", run, resp.Status, body)
	}
	return &Events{body: resp.Body, stop: cancel}, nil
}

// Close ends the stream from this side.
func (e *Events) Close() { e.stop() }

// Retry reports whether the gateway left word when to come back.
func (e *Events) Retry() bool { return e.retry.Load() }

// Follow hands what arrives to each until that returns false or the stream ends; nil
// means that it ended as streams do.
func (e *Events) Follow(each func(client.Item) bool) error {
	defer e.body.Close()
	r := bufio.NewReader(e.body)
	var name string
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF && line == "" {
			return nil
		}
		if err != nil {
			return err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "retry":
			e.retry.Store(true)
		case "event":
			name = value
		case "data":
			item, ok, err := itemOf(name, value)
			if err != nil {
				return err
			}
			if ok && !each(item) {
				return nil
			}
		}
	}
}

func itemOf(name, data string) (item client.Item, ok bool, err error) {
	var target any
	switch name {
	case "run.event":
		item.Event = new(client.RunEvent)
		target = item.Event
	case "run.gap_resync":
		item.Gap = new(client.Gap)
		target = item.Gap
	case "run.error":
		wrapped := struct{ Error *client.Error }{new(client.Error)}
		err = json.Unmarshal([]byte(data), &wrapped)
		item.Error = wrapped.Error
		return item, true, err
	default:
		return item, false, nil
	}
	if err := json.Unmarshal([]byte(data), target); err != nil {
		return item, false, fmt.Errorf("%s: %w", name, err)
	}
	return item, true, nil
}
