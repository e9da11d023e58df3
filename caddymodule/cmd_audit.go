package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
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
	follow, _ := cmd.Flags().GetBool("follow")
	last := int64(0)
	for first := true; ; first = false {
		rows, err := gw.auditPage(cmd, filter)
		if err != nil {
			return err
		}
		for i := len(rows) - 1; i >= 0; i-- { // they come newest first
			last = max(last, rows[i].ID)
			if err := printAudit(cmd.OutOrStdout(), rows[i], asJSON); err != nil {
				return err
			}
		}
		if first && len(rows) == 0 && !follow {
			fmt.Fprintln(cmd.ErrOrStderr(), "There are no such entries.")
		}
		if !follow {
			return nil
		}
		filter["afterId"], filter["limit"] = last, wire.MaxListLimit
		select {
		case <-time.After(followEvery):
		case <-cmd.Context().Done():
			return nil
		}
	}
}

func (gw *apiClient) auditPage(cmd *cobra.Command, filter map[string]any) ([]wire.AuditRow, error) {
	var rows []wire.AuditRow
	_, err := gw.call(cmd.Context(), wire.MethodAuditList, map[string]any{"filter": filter}, &rows)
	return rows, err
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
