package scenarios

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBurstsAreLongEnoughAndShortEnough(t *testing.T) {
	for _, c := range []struct {
		size    Size
		who     string
		sockets int
		want    int
	}{
		{Full, "gateway", 1, 40_000}, {Full, "gateway", 64, 15_625}, {Full, "gateway", 10_000, 100},
		{Full, "original", 64, 1_562}, {Full, "centrifuge", 1_000, 1_000}, {Full, "centrifuge", 10_000, 25},
		{Quick, "gateway", 1, 10_000}, {Tiny, "gateway", 4, 500}, {Tiny, "limit", 10_000, 100},
	} {
		e := &Env{Size: c.size}
		if got := e.linesFor(&source{who: c.who}, c.sockets); got != c.want {
			t.Errorf("%s, %d sockets, size %d: %d lines, want %d", c.who, c.sockets, c.size, got, c.want)
		}
	}
}

func TestScenariosHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if s.Name == "" || s.Title == "" || s.run == nil || s.goals == nil || seen[s.Name] {
			t.Errorf("scenario %+v", s)
		}
		seen[s.Name] = true
	}
}

func TestFailureIsPartOfTheResult(t *testing.T) {
	s := Scenario{"x", "X", func(_ context.Context, e *Env) error {
		e.Add("gateway", "all rounds", "ms", 1)
		e.Add("gateway", "all rounds", "ms", 1)
		e.Add("gateway", "one round", "ms", 1)
		return errors.New("boom")
	}, func(e *Env) {
		for _, what := range []string{"all rounds", "one round", "no round"} {
			e.Value(what, "gateway", what, "ms", false, 1)
		}
	}}
	r := s.Run(t.Context(), &Env{Rounds: 2})
	if r.Error != "boom" || len(r.Figures) != 2 || r.Scenario != "x" || len(r.Goals) != 3 {
		t.Fatalf("result %+v", r)
	}
	for i, want := range []bool{true, false, false} {
		if g := r.Goals[i]; g.Met() != want || (g.Missing == "") != want {
			t.Errorf("goal %+v", g)
		}
	}
}

// A scenario that fails at once still has all goals, none of which is met.
func TestGoalsAreStatedWithoutFigures(t *testing.T) {
	for _, s := range All() {
		for _, size := range []Size{Full, Quick, Tiny} {
			failing := s
			failing.run = func(context.Context, *Env) error { return errors.New("boom") }
			r := failing.Run(t.Context(), &Env{Rounds: 2, Size: size})
			if len(r.Goals) == 0 {
				t.Errorf("%s, size %d, has no goals", s.Name, size)
			}
			for _, g := range r.Goals {
				if g.Met() {
					t.Errorf("%s, size %d: met without a figure: %+v", s.Name, size, g)
				}
			}
		}
	}
}

func TestRoundsOfTheOriginalAreTold(t *testing.T) {
	e := &Env{Rounds: 2, Result: &report.Result{Rounds: 2}}
	for _, who := range []string{"gateway", "gateway", "original"} {
		e.Add(who, connectsName(fewAtOnce), "connects/s", 1)
	}
	connectsGoals(e)
	if what := e.Goals[0].What; !strings.Contains(what, "in 1 of 2 rounds") {
		t.Errorf("goal %q", what)
	}
}

func TestBetween(t *testing.T) {
	message := []byte(`{"type":"res","id":"7","payload":{"runId":"r-1"}}`)
	if got := between(message, runIDName); got != "r-1" {
		t.Errorf("run %q", got)
	}
	if got := between(message, []byte("absent")); got != "" {
		t.Errorf("absent: %q", got)
	}
}

func TestPointsAreSorted(t *testing.T) {
	points := [][2]float64{{10, 1}, {1, 2}, {3, 3}}
	sortPoints(points)
	if points[0][0] != 1 || points[2][0] != 10 {
		t.Error(points)
	}
}

// launches is a launcher of the gateway that answer plays.
func launches(t *testing.T, answer func(ws *websocket.Conn, request, runID string)) *launcher {
	t.Helper()
	l, err := newLauncher(t.Context(), played(t, answer), "token", "p-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// played plays a gateway: it answers a launch, and says how the run ended.
func played(t *testing.T, answer func(ws *websocket.Conn, request, runID string)) client.Dialer {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.Close()
		_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"event","event":"connect.challenge","payload":{},"seq":1,"stateVersion":0}`))
		for {
			_, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			text := string(data)
			id := between(data, []byte(`"id":"`))
			if strings.Contains(text, `"connect"`) {
				_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"res","id":"`+id+`","ok":true,"payload":{}}`))
				continue
			}
			answer(ws, id, between(data, runIDName))
		}
	}))
	t.Cleanup(srv.Close)
	return client.Dialer{Addr: srv.Listener.Addr().String()}
}

func TestLauncherTellsRunsApart(t *testing.T) {
	l := launches(t, func(ws *websocket.Conn, request, runID string) {
		status := "finished"
		if runID == "p-2" {
			status = "failed"
		}
		for _, frame := range []string{
			fmt.Sprintf(`{"type":"res","id":"%s","ok":true,"payload":{"runId":"%s"}}`, request, runID),
			fmt.Sprintf(`{"type":"event","event":"run.completed","payload":{"runId":"%s","status":"%s"}}`, runID, status),
		} {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(frame))
		}
	})
	if _, err := l.complete("one"); err != nil {
		t.Error(err)
	}
	if _, err := l.complete("one"); err == nil || !strings.Contains(err.Error(), "did not finish") {
		t.Errorf("a failed run counts: %v", err)
	}
	if err := l.many(t.Context(), "one", 20, true); err != nil {
		t.Error(err)
	}
	if len(l.waiting)+len(l.replies) > 0 {
		t.Errorf("left over: %d and %d", len(l.waiting), len(l.replies))
	}
}

func TestLauncherFailsWithItsSocket(t *testing.T) {
	l := launches(t, func(ws *websocket.Conn, _, _ string) { _ = ws.Close() })
	if _, err := l.complete("one"); err == nil {
		t.Error("nobody answered")
	}
	if _, err := l.complete("one"); err == nil {
		t.Error("the socket is gone")
	}
}
