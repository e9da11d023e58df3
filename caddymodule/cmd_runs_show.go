package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// nodeRow is what the table shows of a node.
type nodeRow struct {
	NodeID       string  `json:"nodeId"`
	Iteration    int     `json:"iteration"`
	State        string  `json:"state"`
	LastAttempt  *int    `json:"lastAttempt"`
	Label        *string `json:"label"`
	StartedAtMs  *int64  `json:"startedAtMs"`
	FinishedAtMs *int64  `json:"finishedAtMs"`
}

func runsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show RUN",
		Short: "Shows a run, what it waits for, and its nodes",
		Args:  exactlyOne("a run's id"),
		RunE:  runAPI(runsShow),
	}
}

func runsShow(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error {
	params := map[string]any{"runId": args[0]}
	var run runRow
	raw, err := gw.call(cmd.Context(), "getRun", params, &run)
	if err != nil {
		return err
	}
	var nodes []nodeRow
	rawNodes, err := gw.call(cmd.Context(), "listNodeStates", params, &nodes)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Run   json.RawMessage `json:"run"`
			Nodes json.RawMessage `json:"nodes"`
		}{raw, rawNodes})
	}
	if err := printRun(cmd.OutOrStdout(), &run); err != nil {
		return err
	}
	return printNodes(cmd.OutOrStdout(), nodes)
}

func printRun(w io.Writer, run *runRow) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	line("Run", run.RunID)
	line("Workflow", run.WorkflowKey)
	line("Status", run.Status)
	if run.ParentRunID != nil {
		line("Parent", *run.ParentRunID)
	}
	line("Created", moment(run.CreatedAtMs))
	line("Took", run.took(time.Now()))
	line("Waits for", waitsFor(run.RunState.Blocked))
	line("Continued as", run.ContinuedToRunID)
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(run.Summary)) {
		counts = append(counts, fmt.Sprintf("%d %s", run.Summary[state], state))
	}
	line("Nodes", strings.Join(counts, ", "))
	line("Error", errorText(run.ErrorJSON))
	line("Output", shorten(string(run.Output)))
	return table.Flush()
}

func printNodes(w io.Writer, nodes []nodeRow) error {
	if len(nodes) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "\nNODE\tSTATE\tATTEMPT\tTOOK\tLABEL")
	for _, n := range nodes {
		name, attempt, took, label := n.NodeID, "-", "-", ""
		if n.Iteration > 0 {
			name = fmt.Sprintf("%s [%d]", name, n.Iteration)
		}
		if n.LastAttempt != nil {
			attempt = fmt.Sprint(*n.LastAttempt)
		}
		if n.StartedAtMs != nil && n.FinishedAtMs != nil {
			took = span(*n.FinishedAtMs - *n.StartedAtMs)
		}
		if n.Label != nil {
			label = *n.Label
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, n.State, attempt, took, label)
	}
	return table.Flush()
}

// waitsFor says in words what a run is blocked on.
func waitsFor(blocked map[string]any) string {
	text := func(name string) string { s, _ := blocked[name].(string); return s }
	switch text("kind") {
	case "":
		return ""
	case "approval":
		return "a decision on " + text("nodeId") + ", asked for at " + text("requestedAt")
	case "event":
		return "the signal " + text("correlationKey") + " at " + text("nodeId")
	case "timer":
		return "the time " + text("wakeAt") + " at " + text("nodeId")
	}
	return text("kind")
}

// errorText is the message of an errorJson with those of its causes.
func errorText(raw *string) string {
	if raw == nil {
		return ""
	}
	type failure struct {
		Message string   `json:"message"`
		Code    string   `json:"code"`
		Cause   *failure `json:"cause"`
	}
	var f *failure
	if json.Unmarshal([]byte(*raw), &f) != nil {
		return shorten(*raw)
	}
	var parts []string
	for ; f != nil; f = f.Cause {
		part := f.Message
		if f.Code != "" {
			part += " (" + f.Code + ")"
		}
		parts = append(parts, part)
	}
	return shorten(strings.Join(parts, ": "))
}

// maxShown bounds a value in a table, in characters.
const maxShown = 400

func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return text
}
