package scripttest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// TestScenarios runs every scenario and compares the logs of the run and of all that
// came from it with a file, and what streams show with the order written down for it.
func TestScenarios(t *testing.T) {
	defs := module(t, "primitives.mjs")
	for _, s := range scenarios() {
		t.Run(s.file(), func(t *testing.T) {
			h := newHouse(t, defs).open()
			l := engine.Launch{Workflow: s.name, RunID: "r", Input: json.RawMessage("{}")}
			if s.input != "" {
				l.Input = json.RawMessage(s.input)
			}
			if s.limit > 0 {
				l.Config.MaxConcurrency = &s.limit
			}
			_, err := h.e.Launch(bg, l)
			require.NoError(t, err)
			if s.drive != nil {
				s.drive(h)
			}
			if s.end == "" {
				s.end = wire.RunFinished
			}
			row := h.status("r", s.end)
			if s.out != "" {
				require.JSONEq(t, s.out, string(row.Output))
			}
			require.Equal(t, strings.Split(s.pushed, ", "), h.pushed("r"))
			h.golden(s.file())
		})
	}
}

// pushed is what a stream of the run shows, in the short form of the scenarios.
func (h *house) pushed(id string) (short []string) {
	h.t.Helper()
	events, err := enginetest.Events(h.st, id)
	require.NoError(h.t, err)
	for _, ev := range events {
		if ev.Name == "" {
			continue
		}
		var p struct {
			NodeID, Status     string
			Iteration, Attempt int
		}
		require.NoError(h.t, json.Unmarshal(ev.Payload, &p))
		name := strings.TrimPrefix(strings.TrimPrefix(ev.Name, "node."), "run.")
		text := strings.TrimSpace(name + " " + p.NodeID + p.Status)
		if p.Iteration > 0 {
			text += fmt.Sprintf("#%d", p.Iteration)
		}
		if ev.Name == wire.EventNodeRetrying {
			text += fmt.Sprintf(" %d", p.Attempt)
		}
		short = append(short, text)
	}
	return short
}

func goldenPath(name string) string { return filepath.Join("testdata", "golden", name+".txt") }

// golden compares the logs of run r and its family with a file. The id that the
// gateway made up for a successor is replaced.
func (h *house) golden(name string) {
	h.t.Helper()
	var text strings.Builder
	var made []string
	for _, id := range h.family("r") {
		h.until(id+" ends", ended(id))
		require.NoError(h.t, enginetest.CheckNumbers(h.st, id))
		require.NoError(h.t, enginetest.CheckFrames(h.st, id))
		lines, err := enginetest.Lines(h.st, id)
		require.NoError(h.t, err)
		text.WriteString("# " + id + "\n" + strings.Join(lines, "\n") + "\n")
		if to := h.run(id).ContinuedTo; to != "" {
			made = append(made, to, "<successor>")
		}
	}
	logs := strings.NewReplacer(made...).Replace(text.String())
	require.NotContains(h.t, logs, `"stack"`, "stacks never go on the wire (Q33)")
	if *update {
		require.NoError(h.t, os.MkdirAll(filepath.Dir(goldenPath(name)), 0o755))
		require.NoError(h.t, os.WriteFile(goldenPath(name), []byte(logs), 0o644))
	}
	want, err := os.ReadFile(goldenPath(name))
	require.NoError(h.t, err)
	require.Equal(h.t, string(want), logs)
}
