package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// pumpOf is a pump of a gateway that tells of a run as order says: "res" and "end".
func pumpOf(t *testing.T, status string, order ...string) *pump {
	t.Helper()
	d := played(t, func(ws *websocket.Conn, request, _ string) {
		for _, what := range order {
			frame := fmt.Sprintf(`{"type":"event","event":"run.completed","payload":{"runId":"r-%s","status":"%s"}}`, request, status)
			if what == "res" {
				frame = fmt.Sprintf(`{"type":"res","id":"%s","ok":true,"payload":{"runId":"r-%s"}}`, request, request)
			}
			_ = ws.WriteMessage(websocket.TextMessage, []byte(frame))
		}
	})
	p, err := newPump(t.Context(), d, "token", "one")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func TestPumpCountsEachRunOnce(t *testing.T) {
	for _, order := range [][]string{{"res", "end"}, {"end", "res"}} {
		p := pumpOf(t, "finished", order...)
		for range 2 {
			times, _, err := p.during(t.Context(), 8, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(times) != 8 || len(p.sent)+len(p.began)+len(p.over) > 0 {
				t.Errorf("%v: %d runs, left over: %v %v %v", order, len(times), p.sent, p.began, p.over)
			}
		}
	}
}

func TestPumpTakesNoFailedRun(t *testing.T) {
	p := pumpOf(t, "failed", "res", "end")
	if _, _, err := p.during(t.Context(), 1, 0); err == nil || !strings.Contains(err.Error(), "did not finish") {
		t.Errorf("a failed run counts: %v", err)
	}
}
