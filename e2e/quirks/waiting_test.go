package quirks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestQ17_ACorrelationKeyAloneWakesAWait(t *testing.T) {
	p := start(t)
	byID := launch(p, "signal", object{"corr": "dep-1"}, "waiting-event")
	call[object](p, "submitSignal", object{"runId": byID, "correlationKey": "dep-1"})
	p.Status(byID, "finished")
	byName := launch(p, "plain-signal", nil, "waiting-event")
	blocked := call[object](p, "getRun", object{"runId": byName})["runState"].(object)["blocked"].(object)
	call[object](p, "submitSignal", object{"runId": byName, "correlationKey": blocked["correlationKey"]})
	p.Status(byName, "finished")
	other := launch(p, "signal", object{"corr": "dep-2"}, "waiting-event")
	call[object](p, "submitSignal", object{"runId": other, "correlationKey": "dep-3"})
	p.Status(other, "waiting-event")
}

func TestQ18_SignalsToEndedRunsAreTaken(t *testing.T) {
	p := start(t)
	run := launch(p, "static", nil, "finished")
	for seq := range 2 {
		answer := call[object](p, "submitSignal", object{"runId": run, "signalName": "late"})
		require.EqualValues(t, seq, answer["seq"])
	}
	p.Status(run, "finished")
}

func TestQ19_WebhooksReachRunsOfTheirWorkflowOnly(t *testing.T) {
	p := start(t)
	mine := launch(p, "hook", object{"corr": "c1"}, "waiting-event")
	theirs := launch(p, "other-hook", object{"corr": "c1"}, "waiting-event")
	body := `{"issue":{"id":"c1"},"comment":{"body":"hi"}}`
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/webhooks/hook", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := p.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(b))
	var answer struct{ MatchedRunIDs []string }
	require.NoError(t, json.Unmarshal(b, &answer))
	require.Equal(t, []string{mine}, answer.MatchedRunIDs)
	p.Status(mine, "finished")
	p.Status(theirs, "waiting-event")
}

func TestQ38_AWaitEndsAtItsDeadline(t *testing.T) {
	p := start(t)
	run := call[object](p, "launchRun", object{"workflow": "signal-timeout", "input": object{"ms": 500}})["runId"].(string)
	p.Status(run, "failed")
	row := call[object](p, "getRun", object{"runId": run})
	took := time.Duration(row["finishedAtMs"].(float64)-row["createdAtMs"].(float64)) * time.Millisecond
	rig.Prompt(t, "a wait of half a second", took, 5*time.Second)
	require.Contains(t, row["errorJson"], "SIGNAL_TIMEOUT")

	// Also one that passes while nobody is there.
	for ms, seen := 400, ""; seen != "waiting-event"; ms *= 2 { // until it is seen to wait
		require.Less(t, ms, 60_000)
		run = call[object](p, "launchRun", object{"workflow": "signal-timeout", "input": object{"ms": ms}})["runId"].(string)
		p.Wait("the run to wait", func() bool {
			seen = call[object](p, "getRun", object{"runId": run})["status"].(string)
			return seen == "waiting-event" || seen == "failed"
		})
	}
	p.Kill()
	again(p).Status(run, "failed")
}

func TestQ50_TimersFireOnTime(t *testing.T) {
	p := start(t, "SMITHERS_GATEWAY_HEARTBEAT_MS=60000") // the original sweeps so often
	run := launch(p, "timer", object{"ms": 1000}, "finished")
	status, answer := rest(p, http.MethodGet, "/v1/api/runs/"+run+"/events?limit=100", nil)
	require.Equal(t, http.StatusOK, status)
	for _, row := range answer["data"].([]any) {
		if e := row.(object); e["event"] == "TimerFired" {
			payload := e["payload"].(object)
			require.Less(t, time.Duration(payload["delayMs"].(float64))*time.Millisecond, 30*time.Second)
			require.EqualValues(t, payload["firedAtMs"].(float64)-payload["firesAtMs"].(float64), payload["delayMs"])
			return
		}
	}
	t.Fatal("no TimerFired in the log")
}

func TestQ34_CrashedRunsGoOn(t *testing.T) {
	p := start(t)
	run := call[object](p, "launchRun", object{"workflow": "many", "input": object{"count": 10, "ms": 50}})["runId"].(string)
	p.Wait("work", func() bool {
		r, err := p.Run(t.Context(), run)
		return err == nil && r.Summary["finished"] > 2
	})
	p.Kill()
	p = again(p)
	p.Status(run, "finished")
	finished := 0
	for _, e := range history(p, run) {
		if e.Event == "node.finished" {
			finished++
		}
	}
	require.Equal(t, 10, finished, "no finished task ran again")
}

func TestQ15_ASecondGatewayCannotTouchARun(t *testing.T) {
	p := start(t)
	run := launch(p, "approve", nil, "waiting-approval")
	second := *p.Site
	second.Port = rig.FreePort(t)
	rival := second.Launch()
	require.NotZero(t, rival.Exits(), "the database has an owner")
	require.Contains(t, rival.Log.String(), "smithers.db")
	// Resuming a parked run changes nothing and ends nothing.
	s := p.Dial()
	require.Equal(t, "resume_requested", call[object](p, "resumeRun", object{"runId": run})["status"])
	p.Status(run, "waiting-approval")
	decide(p, run, "gate", true)
	events := plainUntil(p, s, run, "run.completed")
	require.Equal(t, "finished", events[len(events)-1].Fields["status"], "the first end that is heard is the true one")
}
