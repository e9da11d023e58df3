package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// Pauses between tries to reach a gateway that does not answer.
const (
	watchPause     = 250 * time.Millisecond
	watchLongPause = 10 * time.Second
)

func runsWatchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch RUN",
		Short: "Prints the events of a run as they happen, until it ends",
		Long: `Prints every event of a run, those of before first, until the run ends. A connection that
breaks is made again and goes on behind the last event seen, so that none is lost or
shown twice. Exits 0 if the run finishes, else 1.`,
		Args: exactlyOne("a run's id"),
		RunE: runAPI(runsWatch),
	}
	cmd.Flags().Int64("after", 0, "begin behind the event with this `number`")
	return cmd
}

func runsWatch(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error {
	after, _ := cmd.Flags().GetInt64("after")
	if after < 0 {
		return fmt.Errorf("--after: %d is below 0", after)
	}
	w := &watcher{gw: gw, run: args[0], after: after, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), asJSON: asJSON}
	for {
		if err := w.follow(cmd.Context()); err != nil {
			return err
		}
		var run runRow
		if _, err := gw.call(cmd.Context(), "getRun", map[string]any{"runId": w.run}, &run); err != nil {
			return err
		}
		switch run.Status {
		case "continued":
			fmt.Fprintf(w.notes, "%s continued as %s\n", w.run, run.ContinuedToRunID)
			w.run, w.after = run.ContinuedToRunID, 0
		case "finished":
			return nil
		default:
			return fmt.Errorf("%s %s %s", w.run, run.Status, errorText(run.ErrorJSON))
		}
	}
}

// watcher follows one run over any number of connections.
type watcher struct {
	gw     *apiClient
	run    string
	after  int64 // number of the last event seen
	out    io.Writer
	notes  io.Writer
	asJSON bool
	least  time.Duration // the gateway's word on when to come back
	lost   bool          // said already that the connection is gone
}

// follow prints events until the run has no more.
func (w *watcher) follow(ctx context.Context) error {
	pause := watchPause
	for {
		before := w.after
		done, err := w.connect(ctx)
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !again(err):
			return w.gw.explain(err)
		case err != nil && !w.lost:
			w.lost = true
			fmt.Fprintf(w.notes, "connection lost (%v); trying again\n", err)
		}
		if w.after > before || err == nil {
			pause = watchPause
		}
		wait := max(pause, w.least)
		w.least = 0
		t := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, watchLongPause)
	}
}

// again reports whether an error may be gone at the next try.
func again(err error) bool {
	refused, ok := errors.AsType[*client.Error](err)
	return !ok || refused.Status == http.StatusTooManyRequests || refused.Status >= http.StatusInternalServerError
}

// connect prints one connection's events; done means that the run has no more.
func (w *watcher) connect(ctx context.Context) (done bool, err error) {
	address := w.gw.Base + "/v1/api/runs/" + url.PathEscape(w.run) + "/stream?afterSeq=" + strconv.FormatInt(w.after, 10)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "text/event-stream")
	if w.gw.Token != "" {
		r.Header.Set("Authorization", "Bearer "+w.gw.Token)
	}
	res, err := w.gw.HTTP.Do(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusOK:
		w.lost = false
		return false, readEvents(res.Body, w.event)
	}
	var answer struct{ Error *client.Error }
	if json.NewDecoder(io.LimitReader(res.Body, maxParams)).Decode(&answer) != nil || answer.Error == nil {
		answer.Error = &client.Error{Code: res.Status, Message: "the answer is not one of a gateway"}
	}
	answer.Error.Status = res.StatusCode
	return false, answer.Error
}

// event takes one server-sent event.
func (w *watcher) event(e serverEvent) error {
	if e.retry > 0 {
		w.least = min(e.retry, watchLongPause)
	}
	switch e.name {
	case "run.event":
		var ev client.RunEvent
		if err := json.Unmarshal(e.data, &ev); err != nil {
			return fmt.Errorf("an event cannot be read: %w", err)
		}
		if ev.Seq <= w.after {
			return nil
		}
		w.after = ev.Seq
		if w.asJSON {
			_, err := fmt.Fprintf(w.out, "%s\n", e.data)
			return err
		}
		_, err := fmt.Fprintln(w.out, eventLine(&ev))
		return err
	case "run.gap_resync":
		var gap client.Gap
		if err := json.Unmarshal(e.data, &gap); err != nil {
			return fmt.Errorf("a gap cannot be read: %w", err)
		}
		w.after = max(w.after, gap.ToSeq)
		fmt.Fprintf(w.notes, "events %d to %d are no longer kept\n", gap.FromSeq, gap.ToSeq)
	case "run.error":
		var failed struct{ Error *client.Error }
		if json.Unmarshal(e.data, &failed) == nil && failed.Error != nil && failed.Error.Code == "UNAUTHORIZED" {
			failed.Error.Status = http.StatusUnauthorized
			return failed.Error
		}
	}
	return nil
}

// eventLine is an event for people: number, name, node, and what there is to say.
func eventLine(ev *client.RunEvent) string {
	var p struct {
		NodeID    string          `json:"nodeId"`
		Iteration int             `json:"iteration"`
		Attempt   int             `json:"attempt"`
		Status    string          `json:"status"`
		Output    string          `json:"output"`
		Approved  *bool           `json:"approved"`
		Error     json.RawMessage `json:"error"`
		NewRunID  string          `json:"newRunId"`
	}
	_ = json.Unmarshal(ev.Payload, &p) // what cannot be read is not shown
	parts := []string{fmt.Sprintf("%6d", ev.Seq), fmt.Sprintf("%-22s", ev.Event)}
	add := func(text string) {
		if text != "" {
			parts = append(parts, text)
		}
	}
	if add(p.NodeID); p.NodeID != "" && p.Iteration > 0 {
		add(fmt.Sprintf("[%d]", p.Iteration))
	}
	if p.Attempt > 1 {
		add(fmt.Sprintf("attempt %d", p.Attempt))
	}
	add(p.Status)
	add(p.NewRunID)
	add(shorten(p.Output))
	if p.Approved != nil && *p.Approved {
		add("approved")
	} else if p.Approved != nil {
		add("denied")
	}
	if len(p.Error) > 0 {
		text := string(p.Error)
		add(errorText(&text))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}
