package caddymodule

import (
	"errors"
	"fmt"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
	"github.com/smithersai/caddy-smithers/gateway/tokens"
)

func tokenCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "token",
		Usage: "issue|list|revoke|check|exec",
		Short: "Issues, lists, checks and revokes access tokens",
		Long: `
Works on the token store file, with or without a running gateway, which notices
every change within a second. The file is the one of --store, else of
SMITHERS_TOKEN_STORE, else ` + gateway.DefaultTokenStore + `.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.PersistentFlags().String("store", "", "token store `file`")
			for _, sub := range []*cobra.Command{
				tokenIssueCommand(), tokenListCommand(), tokenRevokeCommand(), tokenCheckCommand(), tokenExecCommand(),
			} {
				formatFlag(sub)
				cmd.AddCommand(sub)
			}
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = runE(func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return errors.New("token: say what to do: issue, list, revoke, check or exec")
				}
				return fmt.Errorf("token: unknown command %q; allowed are issue, list, revoke, check, exec", args[0])
			})
		},
	}
}

// storePath is the token store that a command works on.
func storePath(cmd *cobra.Command) string {
	if path, _ := cmd.Flags().GetString("store"); path != "" {
		return path
	}
	if path := os.Getenv(gateway.EnvTokenStore); path != "" {
		return path
	}
	return gateway.DefaultTokenStore
}

// runToken prints coded failures with --format json as an object with code and
// message on stdout, where a program looks for the result.
func runToken(f func(cmd *cobra.Command, args []string, asJSON bool) error) func(*cobra.Command, []string) error {
	return runE(func(cmd *cobra.Command, args []string) error {
		asJSON, err := formatOf(cmd)
		if err != nil {
			return err
		}
		err = f(cmd, args, asJSON)
		coded, ok := errors.AsType[*tokens.Error](err)
		if !ok {
			return err
		}
		if !asJSON {
			return &statusError{code: coded.Exit, err: fmt.Errorf("%s: %w", coded.Code, coded)}
		}
		if err := printJSON(cmd.OutOrStdout(), coded); err != nil {
			return err
		}
		return &statusError{code: coded.Exit}
	})
}
