package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// pump keeps a number of runs in flight over one socket and with one goroutine: what a
// read has brought is looked at first, then the launches that follow from it are sent in
// one write. So the client costs little, and the same whoever it measures. The ids of
// the runs are the server's.
type pump struct {
	s        *client.Socket
	workflow string
	next     int64
	sent     map[string]time.Time // by request id
	began    map[string]time.Time // by run id
	over     map[string]time.Time // runs that ended before their launch was answered
	times    stats.Times
}

// maxEnd bounds the wait for anything to arrive.
const maxEnd = time.Minute

func newPump(ctx context.Context, d client.Dialer, token, workflow string) (*pump, error) {
	s, err := signIn(ctx, d, token)
	if err != nil {
		return nil, err
	}
	return &pump{s: s, workflow: workflow, sent: map[string]time.Time{}, began: map[string]time.Time{}, over: map[string]time.Time{}}, nil
}

// during keeps n runs in flight for a while, waits until they have ended, and returns
// how long each took and all together. Of several runs in one message of the socket, all
// have ended when it has been read.
func (p *pump) during(ctx context.Context, n int, d time.Duration) (stats.Times, time.Duration, error) {
	begin := time.Now()
	p.times = nil
	for range n {
		p.launch()
	}
	for {
		if err := p.s.Flush(); err != nil {
			return nil, 0, err
		}
		if len(p.sent)+len(p.began) == 0 {
			return p.times, time.Since(begin), nil
		}
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		p.s.Deadline(maxEnd)
		ended, err := p.hear()
		if err != nil {
			return nil, 0, err
		}
		if time.Since(begin) < d {
			for range ended {
				p.launch()
			}
		}
	}
}

// launch queues a request.
func (p *pump) launch() {
	p.next++
	id := strconv.FormatInt(p.next, 10)
	p.sent[id] = time.Now()
	p.s.Queue(`{"type":"req","id":"` + id + `","method":"launchRun","params":{"workflow":"` + p.workflow + `","input":{}}}`)
}

// hear takes the messages of one read and returns how many runs they have ended.
func (p *pump) hear() (ended int, err error) {
	for more := true; more; more = p.s.Waiting() {
		message, err := p.s.Next()
		if err != nil {
			return 0, err
		}
		switch {
		case bytes.HasPrefix(message, completed):
			if !bytes.Contains(message, finished) {
				return 0, fmt.Errorf("a run did not finish: %.300s", message)
			}
			ended += p.end(between(message, runIDName))
		case bytes.HasPrefix(message, response):
			if err := client.Check(message); err != nil {
				return 0, err
			}
			ended += p.answered(between(message, response), between(message, runIDName))
		}
	}
	return ended, nil
}

// answered notes the id of a launched run.
func (p *pump) answered(request, runID string) (ended int) {
	at, ours := p.sent[request]
	if !ours {
		return 0
	}
	delete(p.sent, request)
	p.began[runID] = at
	if end, over := p.over[runID]; over {
		delete(p.over, runID)
		return p.note(runID, end)
	}
	return 0
}

// end takes the end of a run, its own or one whose launch is not answered yet.
func (p *pump) end(runID string) (ended int) {
	if _, known := p.began[runID]; known {
		return p.note(runID, time.Now())
	}
	if len(p.sent) > 0 {
		p.over[runID] = time.Now()
	}
	return 0
}

func (p *pump) note(runID string, end time.Time) int {
	p.times = append(p.times, end.Sub(p.began[runID]))
	delete(p.began, runID)
	return 1
}

func (p *pump) close() { p.s.Close() }
