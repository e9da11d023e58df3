package caddymodule

import (
	"errors"
	"fmt"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func runsCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "runs",
		Usage: "list|show|cancel|resume|move|rewind|watch [--url <address>] [--token <token>]",
		Short: "Lists, shows, cancels, resumes, moves, rewinds and watches the runs of a gateway",
		Long: `
Speaks to a gateway over its public API, on this machine or anywhere. The gateway is the
one at --url, else at SMITHERS_GATEWAY_URL, else on the PORT of this machine. The token
is that of --token or, which keeps it out of the list of processes, of SMITHERS_API_KEY;
it needs the scope run:read, run:write to cancel and resume, and run:admin to move and rewind.`,
		CobraFunc: func(cmd *cobra.Command) {
			apiFlags(cmd)
			for _, sub := range []*cobra.Command{runsListCommand(), runsShowCommand(), runsCancelCommand(), runsResumeCommand(),
				runsMoveCommand(), runsRewindCommand(), runsWatchCommand()} {
				formatFlag(sub)
				cmd.AddCommand(sub)
			}
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = runE(func(_ *cobra.Command, args []string) error {
				if len(args) == 0 {
					return errors.New("runs: say what to do: list, show, cancel, resume, move, rewind or watch")
				}
				return fmt.Errorf("runs: unknown command %q; allowed are list, show, cancel, resume, move, rewind, watch", args[0])
			})
		},
	}
}

func runsCancelCommand() *cobra.Command {
	return runControl("cancel", "Ends a run and its child runs", "cancelRun", func(a controlAnswer) string {
		if a.Won {
			return "cancelled"
		}
		return "nothing to do: the run is " + a.TerminalStatus
	})
}

func runsResumeCommand() *cobra.Command {
	return runControl("resume", "Sets a paused run to work again", "resumeRun", func(a controlAnswer) string {
		if a.Status == "already_terminal" {
			return "nothing to do: the run has ended"
		}
		return "resumed"
	})
}

// controlAnswer is what the methods that control a run answer, taken together.
type controlAnswer struct {
	RunID          string `json:"runId"`
	Status         string `json:"status"`
	Won            bool   `json:"won"`
	TerminalStatus string `json:"terminalStatus"`
}

func runControl(use, short, method string, outcome func(controlAnswer) string) *cobra.Command {
	return &cobra.Command{
		Use:   use + " RUN",
		Short: short,
		Args:  exactlyOne("a run's id"),
		RunE: runAPI(func(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error {
			var answer controlAnswer
			raw, err := gw.call(cmd.Context(), method, map[string]any{"runId": args[0]}, &answer)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), raw)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", answer.RunID, outcome(answer))
			return err
		}),
	}
}

// exactlyOne says what is missing rather than how many arguments there are.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("%s: give %s", cmd.CommandPath(), what)
		}
		return nil
	}
}
