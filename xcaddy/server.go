package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	defaultPort = 7331
	portsToTry  = 50
	readyTime   = time.Minute
	stopTime    = 20 * time.Second // more than the grace period of the embedded config
)

// server is one gateway process that this program started.
type server struct {
	cmd  *exec.Cmd
	url  string
	done chan struct{}
	err  error // valid after done is closed
}

// serverOptions say how to start a gateway.
type serverOptions struct {
	binary string
	args   []string // "serve", or "run --config FILE"
	dir    string
	env    []string // beside the environment of this program
	port   int
	out    io.Writer
}

func startServer(o serverOptions) (*server, error) {
	cmd := exec.Command(o.binary, o.args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), o.env...)
	cmd.Stdout, cmd.Stderr = o.out, o.out
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd) // Ctrl-C reaches this program alone, which passes it on once
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	s := &server{cmd: cmd, url: "http://127.0.0.1:" + strconv.Itoa(o.port), done: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// ready waits until /health answers 200.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.done:
			return fmt.Errorf("the gateway ended before it was ready: %w", s.reason())
		case <-ctx.Done():
			return fmt.Errorf("the gateway did not answer /health within %s: %w", readyTime, ctx.Err())
		case <-tick.C:
		}
	}
}

func (s *server) reason() error {
	if s.err != nil {
		return s.err
	}
	return errors.New("it exited with status 0")
}

// stop asks the gateway to end and waits; after stopTime it is killed.
func (s *server) stop() error {
	interrupt(s.cmd)
	select {
	case <-s.done:
	case <-time.After(stopTime):
		_ = s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("the gateway did not end within %s and was killed", stopTime)
	}
	var exit *exec.ExitError
	if errors.As(s.err, &exit) && !exit.Exited() {
		return nil // ended by the signal itself
	}
	return s.err
}

// freePort returns the first port from want on that nobody listens on.
func freePort(want int) (int, error) {
	for p := want; p < want+portsToTry && p < 1<<16; p++ {
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		return p, ln.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", want, want+portsToTry-1)
}

// standalone is the environment of a gateway that keeps everything in one folder
// and shares nothing with another Caddy of the same user.
func standalone(folder string, port int, module string) []string {
	return []string{
		"PORT=" + strconv.Itoa(port),
		"SMITHERS_DB_PATH=" + filepath.Join(folder, "smithers.db"),
		"SMITHERS_TOKEN_STORE=" + filepath.Join(folder, "tokens.json"),
		"SMITHERS_GATEWAY_MODULE=" + module,
		"XDG_DATA_HOME=" + filepath.Join(folder, "caddy"),
		"XDG_CONFIG_HOME=" + filepath.Join(folder, "caddy"),
	}
}
