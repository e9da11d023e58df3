package scenarios

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
)

// source is a server that sends bursts of numbered events to sockets.
type source struct {
	who    string
	runID  string // of the gateway's run
	proc   *peers.Process
	stream client.Stream
	extra  int // events of a burst beside its lines
	limit  int // sockets it serves at most; 0: no limit
	open   func(ctx context.Context, i int) (*client.Socket, error)
	emit   func(ctx context.Context, b burst) error
}

// burst is what a source is asked for.
type burst struct {
	lines     int
	bytes     int // of a frame; the gateway takes text instead
	perSecond int // 0: as fast as it goes
}

// Lengths of what the gateway sends: a line of a log, and the frame it makes.
const lineText = 100

// gatewaySource launches a run of the compiled workflow "emit".
func gatewaySource(ctx context.Context, who string, g *peers.Gateway, text int) (*source, error) {
	runID, err := g.Launch(ctx, "emit", nil)
	if err != nil {
		return nil, err
	}
	s := &source{who: who, runID: runID, proc: g.Process, stream: client.RunEvents, extra: 3} // node.pending, node.started, node.finished
	dialer := client.Dialer{Addr: g.Addr}
	s.open = func(ctx context.Context, i int) (*client.Socket, error) {
		return openStream(ctx, dialer, i, g.Token, runID)
	}
	s.emit = func(ctx context.Context, b burst) error {
		return g.Call(ctx, "submitSignal", map[string]any{"runId": runID, "signalName": "go", "data": map[string]any{
			"lines": b.lines, "text": text, "perSecond": b.perSecond,
		}}, nil)
	}
	return s, nil
}

func openStream(ctx context.Context, d client.Dialer, i int, token, runID string) (*client.Socket, error) {
	s, err := d.Dial(ctx, i)
	if err != nil {
		return nil, err
	}
	if _, err = s.Connect(token, []string{runID}); err == nil {
		err = s.Stream(runID)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// originalSource launches a run that is parked, and has the original broadcast events of
// it.
func originalSource(ctx context.Context, p *peers.Smithers) (*source, error) {
	runID, err := parkedRun(ctx, p)
	if err != nil {
		return nil, err
	}
	s := &source{who: "original", proc: p.Process, stream: client.RunEvents, limit: 64}
	dialer := client.Dialer{Addr: p.Addr}
	s.open = func(ctx context.Context, i int) (*client.Socket, error) {
		return openStream(ctx, dialer, i, p.Tokens[i%len(p.Tokens)], runID)
	}
	// A run.event of the original with an empty text, around these ids, has 385 bytes.
	s.emit = func(ctx context.Context, b burst) error {
		return p.Post(ctx, fmt.Sprintf("/bench/emit?run=%s&lines=%d&text=%d", runID, b.lines, max(0, b.bytes-385)))
	}
	return s, nil
}

// parkedRun launches a run of the original and waits until it is parked and has no more
// to say: once a second it reads its own log and broadcasts what it finds there again.
func parkedRun(ctx context.Context, p *peers.Smithers) (string, error) {
	runID, err := p.Launch(ctx, "parked", nil)
	if err != nil {
		return "", err
	}
	if err := statusOf(ctx, p.Client, runID, "waiting-approval"); err != nil {
		return "", err
	}
	return runID, pause(ctx, 2500*time.Millisecond)
}

// toolSource serves Centrifuge and the bare loop.
func toolSource(p *peers.Process) *source {
	s := &source{who: p.Name, proc: p, stream: client.RunEvents}
	dialer := client.Dialer{Addr: p.Addr}
	s.open = func(ctx context.Context, i int) (*client.Socket, error) { return dialer.Dial(ctx, i) }
	if p.Name == "centrifuge" {
		s.stream = client.Publications
		s.open = func(ctx context.Context, i int) (*client.Socket, error) { return openChannel(ctx, dialer, i) }
	}
	s.emit = func(ctx context.Context, b burst) error {
		return p.Post(ctx, fmt.Sprintf("/emit?lines=%d&bytes=%d", b.lines, b.bytes))
	}
	return s
}

// openChannel speaks Centrifuge's JSON protocol.
func openChannel(ctx context.Context, d client.Dialer, i int) (*client.Socket, error) {
	s, err := d.Dial(ctx, i)
	if err != nil {
		return nil, err
	}
	for _, command := range []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"run"}}`} {
		err := s.Write([]byte(command))
		if err == nil {
			var answer []byte
			if answer, err = s.Next(); err == nil {
				err = client.Check(answer)
			}
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: %w", command, err)
		}
	}
	return s, nil
}

// crowd is a number of sockets that read the same bursts.
type crowd struct {
	src     *source
	sockets []*client.Socket
}

// gather grows the crowd to n sockets.
func (c *crowd) gather(ctx context.Context, n int) error {
	first := len(c.sockets)
	if n <= first {
		return nil
	}
	all := make([]*client.Socket, n-first)
	err := client.Each(ctx, len(all), 32, func(ctx context.Context, i int) (err error) {
		all[i], err = c.src.open(ctx, first+i)
		return err
	})
	for _, s := range all {
		if s != nil {
			s.Restart()
			c.sockets = append(c.sockets, s)
		}
	}
	return err
}

func (c *crowd) close() {
	for _, s := range c.sockets {
		s.Close()
	}
}

// took is what one burst took.
type took struct {
	frames int
	bytes  float64       // of a frame, on average
	wall   time.Duration // from asking for it to the last frame of the last socket
	cpu    float64       // seconds of the server
}

// read has every socket read one burst completely. each may look at the frames of socket
// i, and runs in that socket's goroutine; nil: nobody looks.
func (c *crowd) read(ctx context.Context, b burst, each func(i int) func([]byte)) (took, error) {
	n := b.lines + c.src.extra
	t := took{frames: n * len(c.sockets)}
	var before, after atomic.Int64
	var err error
	t.cpu, err = cpuOver(c.src.proc, func() error {
		failed := make(chan error, len(c.sockets))
		for i, s := range c.sockets {
			var look func([]byte)
			if each != nil {
				look = each(i)
			}
			go func() {
				before.Add(s.Bytes)
				s.Deadline(time.Minute)
				err := s.Burst(c.src.stream, n, look)
				after.Add(s.Bytes)
				if err != nil {
					err = fmt.Errorf("socket %d of %d of %s: %w", i, len(c.sockets), c.src.who, err)
				}
				failed <- err
			}()
		}
		begin := time.Now()
		err := c.src.emit(ctx, b)
		if err != nil {
			c.close() // nobody will get anything
		}
		for range c.sockets {
			if e := <-failed; e != nil && err == nil {
				err = e
				c.close()
			}
		}
		t.wall = time.Since(begin)
		return err
	})
	if err != nil {
		return t, err
	}
	t.bytes = float64(after.Load()-before.Load()) / float64(t.frames)
	last := c.sockets[0].Last()
	for i, s := range c.sockets {
		if s.Last() != last {
			return t, fmt.Errorf("socket %d of %s is at number %d, socket 0 at %d", i, c.src.who, s.Last(), last)
		}
	}
	return t, nil
}
