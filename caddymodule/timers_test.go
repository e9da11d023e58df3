package caddymodule

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// answers is a transport that a test makes up.
type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func toGateway(a answers) *apiClient {
	return &apiClient{client.Client{Base: "http://gateway", HTTP: &http.Client{Transport: a}}}
}

func TestCallsOfCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := toGateway(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done() // a gateway that does not answer
			return nil, r.Context().Err()
		})
		start := time.Now()
		_, err := gw.call(t.Context(), "health", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, apiTimeout, time.Since(start))
	})
}

// A watch of a gateway that is away tries again after longer and longer pauses, each
// between half of it and all, and soon again once it was there.
func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tried []time.Time
		gw := toGateway(func(*http.Request) (*http.Response, error) {
			tried = append(tried, time.Now())
			body := ""
			switch n := len(tried); {
			case n <= 10, n == 12:
				return nil, errors.New("away")
			case n == 11: // it is there, says when to come back, and goes
				body = "retry: 4000\n\n"
			default:
				return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
			}
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		var notes strings.Builder
		w := &watcher{gw: gw, run: "r", out: io.Discard, notes: &notes}
		require.NoError(t, w.follow(t.Context()))
		pause := watchPause
		for i := range 10 {
			gap := tried[i+1].Sub(tried[i])
			require.GreaterOrEqual(t, gap, pause/2, "try %d", i+1)
			require.LessOrEqual(t, gap, pause, "try %d", i+1)
			pause = min(2*pause, watchLongPause)
		}
		told := tried[11].Sub(tried[10])
		require.GreaterOrEqual(t, told, 2*time.Second)
		require.LessOrEqual(t, told, 4*time.Second, "what the gateway said")
		require.LessOrEqual(t, tried[12].Sub(tried[11]), 2*watchPause)
		require.Equal(t, 2, strings.Count(notes.String(), "connection lost"), "once for each time it is away")
	})
}

func TestFollowingAsksEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		gw := toGateway(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			asked = append(asked, strings.TrimSpace(string(body)))
			rows := map[int]string{1: `{"id":8},{"id":7}`, 3: `{"id":9}`}[len(asked)]
			answer := `{"type":"res","id":"1","ok":true,"payload":[` + rows + `]}`
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer))}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 4*followEvery-1)
		defer cancel()
		var shown []int64
		err := gw.followAudit(ctx, map[string]any{"limit": 2}, func(row wire.AuditRow) error {
			shown = append(shown, row.ID)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []int64{7, 8, 9}, shown)
		require.Equal(t, []string{`{"filter":{"limit":2}}`, `{"filter":{"afterId":8,"limit":1000}}`, `{"filter":{"afterId":8,"limit":1000}}`,
			`{"filter":{"afterId":9,"limit":1000}}`}, asked)
	})
}
