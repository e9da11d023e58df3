package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/tokens"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func tokenIssueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Makes a token and prints it, this once",
		Long: `Makes a token and prints it alone on stdout, so that TOKEN=$(... token issue) works;
what it may do goes to stderr. Only its hash is stored: it cannot be shown again.

If the store cannot be written, what to paste into it is printed to stderr (with
--format json as "paste"), and the exit code is 3.`,
		Example: `  TOKEN=$(smithers-gateway token issue --scopes run:read,run:write,approval:submit --ttl 12h)`,
		Args:    cobra.NoArgs,
		RunE:    runToken(tokenIssue),
	}
	cmd.Flags().String("scopes", tokens.DefaultScope, "what it may do; `list` with commas or spaces")
	cmd.Flags().String("role", "operator", "`role` of the holder")
	cmd.Flags().String("user-id", "", "`user` that decisions and launches are recorded under")
	cmd.Flags().String("ttl", "1h", "`time` until it expires, such as 500ms, 10s, 2m, 1h or 30d")
	cmd.Flags().String("action-id", tokens.DefaultActionID, "`action` that the handle for token exec is good for")
	cmd.Flags().Bool("no-reveal", false, "do not print the token; it can then only be used through its handle, or not at all")
	return cmd
}

// issuedJSON is what --format json prints.
type issuedJSON struct {
	tokens.Issued
	// Paste is a store that holds the new token alone, when it could not be written.
	Paste json.RawMessage `json:"paste,omitempty"`
}

func tokenIssue(cmd *cobra.Command, _ []string, asJSON bool) error {
	flags := cmd.Flags()
	ttlText, _ := flags.GetString("ttl")
	ttl, err := tokens.ParseTTL(ttlText)
	if err != nil {
		return err
	}
	scopes, _ := flags.GetString("scopes")
	for _, hint := range issueHints(tokens.SplitScopes(scopes), ttl, ttlText) {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", hint)
	}
	role, _ := flags.GetString("role")
	user, _ := flags.GetString("user-id")
	action, _ := flags.GetString("action-id")

	issued, err := tokens.Issue(cmd.Context(), tokens.IssueOptions{
		Path: storePath(cmd), Scopes: tokens.SplitScopes(scopes), Role: role, UserID: user, TTL: ttl, ActionID: action,
	})
	readOnly, unwritten := errors.AsType[*tokens.ReadOnlyError](err)
	if unwritten {
		issued = readOnly.Issued
	} else if err != nil {
		return err
	}

	shown := issuedJSON{Issued: *issued}
	if hidden, _ := flags.GetBool("no-reveal"); hidden {
		shown.Token = ""
	}
	if unwritten {
		shown.Paste = readOnly.Entry
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), shown)
	} else {
		err = describeIssued(cmd, shown)
	}
	if err == nil && unwritten {
		return &statusError{code: exitReadOnlyStore, err: fmt.Errorf("%s: %w", issued.StorePath, readOnly.Err)}
	}
	return err
}

// issueHints are about what is allowed and yet seldom meant.
func issueHints(scopes []string, ttl time.Duration, ttlText string) []string {
	var hints []string
	for _, scope := range scopes {
		if wire.GrantsAnything(scope) {
			continue
		}
		known := []string{wire.GrantAll}
		for _, m := range wire.Methods() {
			known = append(known, m.Scope)
		}
		hint := fmt.Sprintf("%q allows no method; it only lets its holder decide approvals that are restricted to it", scope)
		if guess := nearest(scope, known); guess != "" {
			hint += fmt.Sprintf(" (did you mean %s?)", guess)
		}
		hints = append(hints, hint)
	}
	if ttl < time.Second {
		hint := fmt.Sprintf("the token expires after %s", ttl)
		if strings.Trim(ttlText, "0123456789. ") == "" {
			hint += fmt.Sprintf(", as a number without a unit counts milliseconds; write --ttl %ss, %sm or %sh", ttlText, ttlText, ttlText)
		}
		hints = append(hints, hint)
	}
	return hints
}

func describeIssued(cmd *cobra.Command, issued issuedJSON) error {
	if issued.Token != "" {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), issued.Token); err != nil {
			return err
		}
	}
	about, g := cmd.ErrOrStderr(), issued.Grant
	fmt.Fprintf(about, "token id  %s\nscopes    %s\nrole      %s\n", g.TokenID, strings.Join(g.Scopes, " "), g.Role)
	if g.UserID != "" {
		fmt.Fprintf(about, "user      %s\n", g.UserID)
	}
	fmt.Fprintf(about, "expires   %s\nhandle    %s\n", when(g.ExpiresAtMs), issued.ActionToken.Handle)
	if issued.Paste != nil {
		_, err := fmt.Fprintf(about, "Not stored. Paste this into the store, or merge it:\n%s\n", issued.Paste)
		return err
	}
	_, err := fmt.Fprintf(about, "store     %s (holds hashes only)\n", issued.StorePath)
	return err
}

func when(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
