package caddymodule

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func runsMoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move RUN --to current",
		Short: "Moves a run that waits or is paused to the newest version of its workflow",
		Long: `
A run works with the version of its workflow that it was launched with. move replays what
it has done against the newest version, without executing anything. If that version asks
for the same, the run continues with it; if not, the run stays as it is and the first
difference is shown. Needs the scope run:admin.`,
		Args: exactlyOne("a run's id"),
		RunE: runAPI(runsMove),
	}
	cmd.Flags().String("to", "", "`version` to move to; current, the newest, is the only one")
	return cmd
}

func runsMove(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error {
	if to, _ := cmd.Flags().GetString("to"); to != wire.MoveToCurrent {
		return fmt.Errorf("--to: say %s, the newest version of the run's workflow", wire.MoveToCurrent)
	}
	var answer wire.RunMoved
	raw, err := gw.call(cmd.Context(), wire.MethodRunsMove, map[string]any{"runId": args[0], "to": wire.MoveToCurrent}, &answer)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	outcome := "nothing to do: the run is on the newest version"
	if answer.Moved {
		outcome = fmt.Sprintf("moved from %s to %s", shownVersion(answer.From), shownVersion(answer.To))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", answer.RunID, outcome)
	return err
}

// shownVersion is a version in the length that people compare.
func shownVersion(version *string) string {
	switch {
	case version == nil:
		return "the compiled workflow"
	case len(*version) > 12:
		return (*version)[:12]
	}
	return *version
}
