package caddymodule

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// runRow is what the tables show of a run.
type runRow struct {
	RunID            string          `json:"runId"`
	ParentRunID      *string         `json:"parentRunId"`
	WorkflowKey      string          `json:"workflowKey"`
	Status           string          `json:"status"`
	CreatedAtMs      int64           `json:"createdAtMs"`
	StartedAtMs      *int64          `json:"startedAtMs"`
	FinishedAtMs     *int64          `json:"finishedAtMs"`
	ErrorJSON        *string         `json:"errorJson"`
	Summary          map[string]int  `json:"summary"`
	Output           json.RawMessage `json:"output"`
	ContinuedToRunID string          `json:"continuedToRunId"`
	RunState         struct {
		State   string         `json:"state"`
		Blocked map[string]any `json:"blocked"`
	} `json:"runState"`
}

func runsListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists runs, newest first",
		Args:  cobra.NoArgs,
		RunE:  runAPI(runsList),
	}
	cmd.Flags().String("status", "", "only runs of this `status`, as running, waiting-approval or failed")
	cmd.Flags().String("workflow", "", "only runs of the workflow with this `key`")
	cmd.Flags().Int("limit", 20, "at most this `number` of runs")
	cmd.Flags().Bool("system", false, "also runs of system workflows")
	return cmd
}

func runsList(cmd *cobra.Command, _ []string, gw *apiClient, asJSON bool) error {
	filter := map[string]any{}
	for flag, name := range map[string]string{"status": "status", "workflow": "workflow"} {
		if v, _ := cmd.Flags().GetString(flag); v != "" {
			filter[name] = v
		}
	}
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 {
		return fmt.Errorf("--limit: %d is not above 0", limit)
	}
	filter["limit"] = limit
	filter["includeSystem"], _ = cmd.Flags().GetBool("system")
	var rows []runRow
	raw, err := gw.call(cmd.Context(), "listRuns", map[string]any{"filter": filter}, &rows)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	if len(rows) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "There are no such runs.")
		return nil
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "RUN\tWORKFLOW\tSTATUS\tCREATED\tTOOK")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.RunID, r.WorkflowKey, r.Status, moment(r.CreatedAtMs), r.took(time.Now()))
	}
	return table.Flush()
}

// took is how long a run has worked, or works so far.
func (r *runRow) took(now time.Time) string {
	if r.StartedAtMs == nil {
		return "-"
	}
	end := now.UnixMilli()
	if r.FinishedAtMs != nil {
		end = *r.FinishedAtMs
	}
	return span(end - *r.StartedAtMs)
}

func span(ms int64) string {
	d := time.Duration(max(ms, 0)) * time.Millisecond
	switch {
	case d < time.Minute:
		return d.Round(time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).Format("2006-01-02 15:04:05")
}
