package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
)

// launcher launches runs over one socket, which also shows how they end. The socket
// listens to all runs. It is safe for concurrent use.
type launcher struct {
	s       *client.Socket
	write   sync.Mutex
	mu      sync.Mutex
	waiting map[string]chan error // by run id
	replies map[string]chan error // by request id
	next    atomic.Int64
	prefix  string
	err     error
}

func newLauncher(ctx context.Context, d client.Dialer, token, prefix string) (*launcher, error) {
	s, err := signIn(ctx, d, token)
	if err != nil {
		return nil, err
	}
	l := &launcher{s: s, prefix: prefix, waiting: map[string]chan error{}, replies: map[string]chan error{}}
	_ = s.Conn.SetReadDeadline(time.Time{})
	go l.follow()
	return l, nil
}

// signIn opens a socket that listens to all runs the token may see.
func signIn(ctx context.Context, d client.Dialer, token string) (*client.Socket, error) {
	s, err := d.Dial(ctx, 0)
	if err != nil {
		return nil, err
	}
	if _, err := s.Connect(token, nil); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

var (
	completed = []byte(`{"type":"event","event":"run.completed"`)
	response  = []byte(`{"type":"res","id":"`)
	runIDName = []byte(`"runId":"`)
	finished  = []byte(`"status":"finished"`)
)

// follow hands out what the socket receives.
func (l *launcher) follow() {
	for {
		message, err := l.s.Next()
		if err != nil {
			l.fail(err)
			return
		}
		switch {
		case bytes.HasPrefix(message, completed):
			var outcome error
			if !bytes.Contains(message, finished) {
				outcome = fmt.Errorf("a run did not finish: %.300s", message)
			}
			l.tell(l.waiting, between(message, runIDName), outcome)
		case bytes.HasPrefix(message, response):
			l.tell(l.replies, between(message, response), client.Check(message))
		}
	}
}

// between is the text after a mark, up to the next quotation mark.
func between(message, mark []byte) string {
	_, rest, _ := bytes.Cut(message, mark)
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}

func (l *launcher) tell(who map[string]chan error, id string, outcome error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := who[id]; ok {
		delete(who, id)
		c <- outcome
	}
}

func (l *launcher) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	for _, who := range []map[string]chan error{l.waiting, l.replies} {
		for id, c := range who {
			delete(who, id)
			c <- err
		}
	}
}

// launch starts a run and returns its id once the launch is acknowledged. done, when not
// nil, is told the end.
func (l *launcher) launch(workflow string, done chan error) (string, error) {
	n := strconv.FormatInt(l.next.Add(1), 10)
	runID, reply := l.prefix+n, make(chan error, 1)
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return "", l.err
	}
	l.replies[n] = reply
	if done != nil {
		l.waiting[runID] = done
	}
	l.mu.Unlock()
	request := `{"type":"req","id":"` + n + `","method":"launchRun","params":{"workflow":"` + workflow +
		`","input":{},"options":{"runId":"` + runID + `"}}}`
	l.write.Lock()
	err := l.s.Write([]byte(request))
	l.write.Unlock()
	if err != nil {
		return "", err
	}
	return runID, wait(reply)
}

// complete launches a run and waits for its end.
func (l *launcher) complete(workflow string) (time.Duration, error) {
	begin, done := time.Now(), make(chan error, 1)
	if _, err := l.launch(workflow, done); err != nil {
		return 0, err
	}
	err := wait(done)
	return time.Since(begin), err
}

func wait(c chan error) error {
	select {
	case err := <-c:
		return err
	case <-time.After(time.Minute):
		return errors.New("no answer within a minute")
	}
}

// many launches n runs, up to 64 at a time, and returns when all are acknowledged; end
// also waits for their ends.
func (l *launcher) many(ctx context.Context, workflow string, n int, end bool) error {
	return client.Each(ctx, n, 64, func(context.Context, int) error {
		if end {
			_, err := l.complete(workflow)
			return err
		}
		_, err := l.launch(workflow, nil)
		return err
	})
}

func (l *launcher) close() { l.s.Close() }
