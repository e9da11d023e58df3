package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// followEvery is how often audit --follow asks for news.
const followEvery = time.Second

func auditCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "audit",
		Usage: "[--run <id>] [--action <action>] [--actor <user>] [--since <duration>] [--limit <number>] [--follow] [--json]",
		Short: "Shows who did what to a gateway, when and from where",
		Long: `
Prints entries of the audit table, oldest first: launches, decisions, signals,
cancellations, pauses, retries and moves of runs, changed schedules and tickets, tokens
issued, revoked and removed, reloads, backups and restores. It speaks to a gateway as the
command runs does; the token needs the scope run:admin.

  smithers-gateway audit --since 24h
  smithers-gateway audit --run build-7
  smithers-gateway audit --action token.revoked --json
  smithers-gateway audit --follow`,
		CobraFunc: func(cmd *cobra.Command) {
			apiFlags(cmd)
			cmd.Flags().String("run", "", "only about the run with this `id`")
			cmd.Flags().String("action", "", "only this `action`, as launch, decide or token.issued")
			cmd.Flags().String("actor", "", "only by this `user` or token id")
			cmd.Flags().String("token-id", "", "only with or about the token with this `id`")
			cmd.Flags().String("since", "", "only of the last `duration`, as 90m or 7d")
			cmd.Flags().Int("limit", 50, "at most this `number` of entries, the newest")
			cmd.Flags().Bool("follow", false, "go on with new entries as they come, until interrupted")
			cmd.Flags().Bool("json", false, "print one JSON object a line")
			cmd.Args = cobra.NoArgs
			cmd.RunE = runE(audit)
		},
	}
}

func audit(cmd *cobra.Command, _ []string) error {
	filter, err := auditFilter(cmd)
	if err != nil {
		return err
	}
	gw, err := apiOf(cmd)
	if err != nil {
		return err
	}
	asJSON, _ := cmd.Flags().GetBool("json")
	show := func(row wire.AuditRow) error { return printAudit(cmd.OutOrStdout(), row, asJSON) }
	if follow, _ := cmd.Flags().GetBool("follow"); follow {
		return gw.followAudit(cmd.Context(), filter, show)
	}
	last, err := gw.showAudits(cmd.Context(), filter, show)
	if err == nil && last == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "There are no such entries.")
	}
	return err
}

// followAudit shows what there is and what comes, until ctx ends.
func (gw *apiClient) followAudit(ctx context.Context, filter map[string]any, show func(wire.AuditRow) error) error {
	for {
		last, err := gw.showAudits(ctx, filter, show)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted: that is how following ends
		}
		if err != nil {
			return err
		}
		if last > 0 {
			filter["afterId"], filter["limit"] = last, wire.MaxListLimit
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// showAudits shows a page and returns the id of its newest entry, 0 when it is empty.
func (gw *apiClient) showAudits(ctx context.Context, filter map[string]any, show func(wire.AuditRow) error) (last int64, err error) {
	var rows []wire.AuditRow
	if _, err := gw.call(ctx, wire.MethodAuditList, map[string]any{"filter": filter}, &rows); err != nil {
		return 0, err
	}
	for _, row := range slices.Backward(rows) { // they come newest first
		last = row.ID
		if err := show(row); err != nil {
			return last, err
		}
	}
	return last, nil
}

func auditFilter(cmd *cobra.Command) (map[string]any, error) {
	filter := map[string]any{}
	for flag, name := range map[string]string{"run": "runId", "action": "action", "actor": "actor", "token-id": "tokenId"} {
		if v, _ := cmd.Flags().GetString(flag); v != "" {
			filter[name] = v
		}
	}
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 || limit > wire.MaxListLimit {
		return nil, fmt.Errorf("--limit: %d is not between 1 and %d", limit, wire.MaxListLimit)
	}
	filter["limit"] = limit
	if since, _ := cmd.Flags().GetString("since"); since != "" {
		d, err := caddy.ParseDuration(since)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("--since: %q is not a duration such as 90m, 24h or 7d", since)
		}
		filter["sinceMs"] = time.Now().Add(-d).UnixMilli()
	}
	return filter, nil
}

func printAudit(w io.Writer, row wire.AuditRow, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(row)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", line)
		return err
	}
	line := []string{moment(row.AtMs), row.Action}
	if row.RunID != nil {
		line = append(line, "run="+*row.RunID)
	}
	if row.Actor != nil {
		line = append(line, "by="+*row.Actor)
	}
	if row.TokenID != nil {
		line = append(line, "token="+*row.TokenID)
	}
	if row.Remote != nil {
		line = append(line, "from="+*row.Remote)
	}
	if detail := string(row.Detail); detail != "null" && detail != "" {
		line = append(line, detail)
	}
	_, err := fmt.Fprintln(w, strings.Join(line, "  "))
	return err
}
