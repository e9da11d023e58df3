package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/tokens"
)

func tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the tokens of the store, without their secrets",
		Args:  cobra.NoArgs,
		RunE:  runToken(tokenList),
	}
}

func tokenList(cmd *cobra.Command, _ []string, asJSON bool) error {
	path := storePath(cmd)
	all, err := tokens.List(path)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Tokens    []tokens.Listed `json:"tokens"`
			StorePath string          `json:"storePath"`
		}{all, path})
	}
	if len(all) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s holds no tokens.\n", path)
		return nil
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TOKEN ID\tSTATE\tROLE\tUSER\tISSUED\tEXPIRES\tSCOPES")
	clear := 0
	for _, l := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.TokenID, l.State, l.Role, orDash(l.UserID),
			dateOrDash(l.IssuedAtMs), dateOrDash(l.ExpiresAtMs), strings.Join(l.Scopes, " "))
		if l.ClearSecret {
			clear++
		}
	}
	if clear > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d of them are stored in clear by another program.\n", clear)
	}
	return table.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func dateOrDash(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return when(ms)
}

func tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke <token | id | head of the hash>",
		Short: "Revokes a token; open sockets that use it are closed",
		Args:  cobra.ExactArgs(1),
		RunE:  runToken(tokenRevoke),
	}
}

func tokenRevoke(cmd *cobra.Command, args []string, asJSON bool) error {
	revoked, err := tokens.Revoke(cmd.Context(), storePath(cmd), args[0])
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), revoked)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", revoked.TokenID)
	return nil
}

func tokenCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check <token>",
		Short: "Says what a token may do, or why it is refused",
		Long:  "Exits 0 if a gateway with this store would accept the token, else 1.",
		Args:  cobra.ExactArgs(1),
		RunE:  runToken(tokenCheck),
	}
}

func tokenCheck(cmd *cobra.Command, args []string, asJSON bool) error {
	checked, err := tokens.Check(storePath(cmd), args[0])
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), checked); err != nil || checked.Valid {
			return err
		}
		return &statusError{code: 1}
	}
	if !checked.Valid {
		return errors.New(checked.Reason)
	}
	g := checked.Grant
	fmt.Fprintf(cmd.OutOrStdout(), "valid until %s: %s, role %s, user %s, scopes %s\n",
		dateOrDash(g.ExpiresAtMs), g.TokenID, g.Role, orDash(g.UserID), strings.Join(g.Scopes, " "))
	return nil
}
