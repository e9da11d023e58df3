package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
	"github.com/smithersai/caddy-smithers/internal/pipenet"
)

// storing is the part of a running gateway that has a store, in fake time. (All of it
// cannot be: the watch of the token store waits in a system call.)
func storing(t *testing.T, s Settings) *running {
	g := New(nil)
	g.settings.Store(&s)
	r := &running{g: g, logger: zap.NewNop(), metrics: g.metrics}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	r.store, err = store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "s.db"), Durability: store.DurabilityNormal})
	require.NoError(t, err)
	r.log = eventlog.New(backend{r.store}, eventlog.Options{})
	r.openFrames()
	t.Cleanup(func() {
		r.cancel()
		r.work.Wait()
		r.frames.Close()
		require.NoError(t, r.store.Close())
		r.log.Close()
	})
	return r
}

func TestGrowthIsMeasuredEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := storing(t, DefaultSettings())
		r.startGrowth()
		measured := func() int {
			synctest.Wait()
			r.growth.mu.Lock()
			defer r.growth.mu.Unlock()
			return len(r.growth.sizes)
		}
		require.Equal(t, 1, measured(), "at once")
		require.Positive(t, r.growth.freeBytes())
		require.Positive(t, r.store.Stats().WALBytes)
		r.growth.mu.Lock()
		first := r.growth.sizes[0].bytes
		r.growth.mu.Unlock()
		require.Equal(t, r.store.Stats().DBBytes, first, "the write-ahead log is no growth")
		time.Sleep(10 * growthEvery)
		require.Equal(t, 11, measured())
		time.Sleep(24 * time.Hour)
		require.Equal(t, int(growthWindow/growthEvery)+1, measured(), "six hours and no more")
	})
}

func TestRetentionComesEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := DefaultSettings()
		s.RunRetention = time.Hour
		r := storing(t, s)
		end := func(id string) {
			require.NoError(t, r.store.Update(t.Context(), func(tx *store.Tx) error {
				now := time.Now().UnixMilli()
				return tx.InsertRun(&store.Run{RunID: id, WorkflowKey: "w", WorkflowName: "w", Status: wire.RunFinished, Input: []byte("{}"),
					Config: []byte("{}"), CreatedBy: []byte("{}"), Source: "gateway", CreatedAtMs: now, StartedAtMs: now, FinishedAtMs: now})
			}))
		}
		there := func(id string) bool {
			synctest.Wait()
			err := r.store.View(t.Context(), func(v *store.View) error { _, err := v.Run(id); return err })
			if !errors.Is(err, store.ErrNotFound) {
				require.NoError(t, err)
			}
			return err == nil
		}
		end("first")
		r.startRetention()
		time.Sleep(30 * time.Second)
		end("second")
		time.Sleep(time.Hour - 30*time.Second)
		require.True(t, there("first"), "exactly an hour old")
		time.Sleep(retentionEvery)
		require.False(t, there("first"))
		require.False(t, there("second"), "a minute later it is old enough, too")
		end("third")
		time.Sleep(30 * time.Minute)
		forever := s
		forever.RunRetention = 0
		r.g.settings.Store(&forever)
		time.Sleep(48 * time.Hour)
		require.True(t, there("third"), "the setting counts at each look")
	})
}

func TestRequestsEndWithTheirTimeOrTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := storing(t, DefaultSettings())
		start := time.Now()
		ctx, cancel := r.limit(t.Context(), time.Minute)
		defer cancel()
		<-ctx.Done()
		require.Equal(t, time.Minute, time.Since(start))
		ctx, cancel = r.limit(t.Context(), time.Minute)
		defer cancel()
		r.cancel()
		<-ctx.Done()
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// Whether somebody waited for the end of a request or asks only then, it is the same end.
func TestEndOfARequest(t *testing.T) {
	type key struct{}
	for name, end := range map[string]struct {
		by  func(r *running, parent, own context.CancelFunc)
		err error
	}{
		"its time":    {func(*running, context.CancelFunc, context.CancelFunc) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
		"the client":  {func(_ *running, parent, _ context.CancelFunc) { parent() }, context.Canceled},
		"the gateway": {func(r *running, _, _ context.CancelFunc) { r.cancel() }, context.Canceled},
		"its answer":  {func(_ *running, _, own context.CancelFunc) { own() }, context.Canceled},
	} {
		for _, waited := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r := &running{}
				r.ctx, r.cancel = context.WithCancel(t.Context())
				defer r.cancel()
				parent, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				defer leave()
				ctx, cancel := r.limit(parent, time.Minute)
				defer cancel()
				deadline, ok := ctx.Deadline()
				require.True(t, ok)
				require.Equal(t, time.Now().Add(time.Minute), deadline)
				require.NoError(t, ctx.Err())
				if waited {
					select {
					case <-ctx.Done():
						require.Fail(t, "it has begun")
					default:
					}
				}
				end.by(r, leave, cancel)
				synctest.Wait()
				require.Equal(t, end.err, ctx.Err(), "%s, waited for: %v", name, waited)
				<-ctx.Done()
				require.Equal(t, "value", ctx.Value(key{}))
				child, free := context.WithCancel(ctx)
				defer free()
				<-child.Done()
				require.Equal(t, end.err, child.Err(), "%s, waited for: %v", name, waited)
				cancel()
				require.Equal(t, end.err, ctx.Err(), "it ends once")
			})
		}
	}
}

// The end of a request that is answered at once is never arranged.
func TestNobodyWaitsForTheEndOfAQuickRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := storing(t, DefaultSettings())
		ctx, cancel := r.limit(t.Context(), time.Minute)
		require.NoError(t, r.store.View(ctx, func(*store.View) error { return nil }))
		require.Nil(t, ctx.(*limited).inner)
		cancel()
		require.ErrorIs(t, r.store.View(ctx, func(*store.View) error { return nil }), context.Canceled)
		require.Nil(t, ctx.(*limited).inner)
	})
}

// Neither a task that does not hear its end nor storage that hangs puts off the end
// of the process.
func TestParkingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := storing(t, DefaultSettings())
		deaf, begun, hangs := make(chan struct{}), make(chan struct{}), make(chan struct{})
		faulty := enginetest.NewStore(r.store, nil)
		r.engine = engine.New(engine.Options{Store: faulty, Owner: "test"})
		r.engine.SetWorkflows([]engine.Definition{{Key: "w", Program: gomachine.New(workflow.Func(func(ctx workflow.Context) (any, error) {
			return nil, ctx.Task("t", func(workflow.Task) (any, error) { close(begun); <-deaf; return nil, nil }, nil)
		}))}})
		require.NoError(t, r.engine.Start(t.Context()))
		_, err := r.engine.Launch(t.Context(), engine.Launch{Workflow: "w", RunID: "r", Input: []byte("{}")})
		require.NoError(t, err)
		<-begun
		faulty.SetHook(func(*store.Tx) error { <-hangs; return nil })
		start := time.Now()
		require.ErrorIs(t, r.stopEngine(t.Context()), context.DeadlineExceeded)
		require.Equal(t, parkLimit, time.Since(start))
		close(deaf)
		close(hangs)
	})
}

// serveFake serves one request in fake time over a pipe.
func serveFake(t *testing.T, serve http.HandlerFunc, request string) io.ReadWriteCloser {
	l := pipenet.Listen()
	s := &http.Server{Handler: serve}
	go func() { _ = s.Serve(l) }()
	conn, err := l.Dial()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		require.NoError(t, s.Close())
	})
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	return conn
}

func TestBodyThatDoesNotArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &handler{g: New(nil)}
		start := time.Now()
		conn := serveFake(t, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			_, failure := h.body(w, r.WithContext(ctx))
			h.failure(w, "id", failure)
		}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Contains(t, string(text), wire.CodeRequestTimeout)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// What is left of a body that is too large is read on for a moment, not for ever.
func TestRefusedBodyIsReadOnForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &handler{g: New(nil), site: Site{MaxBody: 10}}
		start := time.Now()
		conn := serveFake(t, func(w http.ResponseWriter, r *http.Request) {
			_, failure := h.body(w, r)
			h.failure(w, "id", failure)
		}, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n01234")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
		require.Equal(t, drainTime, time.Since(start))
	})
}

// A client that does not take a large answer holds its request up for the request
// timeout, no longer.
func TestLargeAnswerThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &handler{g: New(nil)}
		took := make(chan time.Duration, 1)
		serveFake(t, func(w http.ResponseWriter, _ *http.Request) {
			start := time.Now()
			h.json(w, http.StatusOK, []byte(strings.Repeat("x", 2*largeBody)))
			took <- time.Since(start)
		}, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Equal(t, h.g.requestTimeout(), <-took)
	})
}

// A body that nobody wants is waited for no longer than others.
func TestBodyThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &handler{g: New(nil)} // not running: it refuses everything
		start := time.Now()
		conn := serveFake(t, h.ServeHTTP, "POST /v1/rpc/health HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n01234")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, h.g.requestTimeout(), time.Since(start))
	})
}
