package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	for _, command := range []caddycmd.Command{
		serveCommand(), tokenCommand(), backupCommand(), restoreCommand(), moduleCommand(), healthCommand(),
		runsCommand(), callCommand(), auditCommand(),
	} {
		caddycmd.RegisterCommand(command)
	}
}

// Exit codes of the subcommands beyond 0 and 1.
const exitReadOnlyStore = 3

// statusError ends the process with a code other than 1.
type statusError struct {
	code int
	err  error // nil: everything is said already
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// runE prints the error of f plainly, not as a log line, and sets the exit code.
func runE(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := f(cmd, args)
		if err == nil {
			return nil
		}
		if text := err.Error(); text != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "Error:", text)
		}
		if status, ok := errors.AsType[*statusError](err); ok && status.code > 1 {
			exit := func(caddycmd.Flags) (int, error) { return status.code, nil }
			return caddycmd.WrapCommandFuncForCobra(exit)(cmd, args)
		}
		return err
	}
}

// formatFlag adds --format, which formatOf reads.
func formatFlag(cmd *cobra.Command) {
	cmd.Flags().String("format", "text", "`text` or json")
}

func formatOf(cmd *cobra.Command) (asJSON bool, err error) {
	switch format, _ := cmd.Flags().GetString("format"); format {
	case "text":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, fmt.Errorf("--format: %q is not one of text, json", format)
	}
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
