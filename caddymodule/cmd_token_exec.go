package caddymodule

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/tokens"
)

func tokenExecCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec",
		Short: "Runs a shell command with the token of a handle in its environment",
		Args:  cobra.NoArgs,
		RunE:  runToken(tokenExec),
	}
	cmd.Flags().String("handle", "", "`handle` that token issue gave")
	cmd.Flags().String("command", "", "shell `command` to run")
	cmd.Flags().String("action-id", tokens.DefaultActionID, "`action` that the handle must be good for")
	cmd.Flags().String("scopes", "", "scopes that the handle must have; `list` with commas or spaces")
	cmd.Flags().String("env", tokens.DefaultEnv, "`variable` that holds the token")
	return cmd
}

func tokenExec(cmd *cobra.Command, _ []string, asJSON bool) error {
	flags := cmd.Flags()
	handle, _ := flags.GetString("handle")
	command, _ := flags.GetString("command")
	action, _ := flags.GetString("action-id")
	scopes, _ := flags.GetString("scopes")
	variable, _ := flags.GetString("env")
	if handle == "" || command == "" {
		return errors.New("token exec: --handle and --command are required")
	}
	if wrong := checkVariable(variable); wrong != "" {
		return fmt.Errorf("--env: %q %s", variable, wrong)
	}
	done, err := tokens.Exec(cmd.Context(), tokens.ExecOptions{
		Path: storePath(cmd), Handle: handle, ActionID: action, Scopes: tokens.SplitScopes(scopes), Command: command, Env: variable,
		Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(),
	})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), done)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "ran with token %s\n", done.TokenID)
	return nil
}
