package caddymodule

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func runsRewindCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rewind RUN --to FRAME --confirm",
		Short: "Takes a run back to one of its frames and lets it go on from there",
		Long: `
Takes a run back to how it was at a frame, as DevTools and frames.list number them, and
sets it to work from there, also if it had ended. Tasks beyond the frame are done again;
what they had come to is archived, and the log keeps everything. Attempts in flight are
stopped first.

A rewind that would repeat a task with a declared side effect is refused unless --force is
given. Only the user who launched the run and administrators may rewind it, with the scope
run:admin, and ten times an hour.`,
		Args: exactlyOne("a run's id"),
		RunE: runAPI(runsRewind),
	}
	cmd.Flags().Int64("to", -1, "`frame` to go back to, from 1")
	cmd.Flags().Bool("confirm", false, "yes, tasks beyond the frame will be done again")
	cmd.Flags().Bool("force", false, "also if side effects will be repeated")
	return cmd
}

func runsRewind(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error {
	to, _ := cmd.Flags().GetInt64("to")
	confirm, _ := cmd.Flags().GetBool("confirm")
	force, _ := cmd.Flags().GetBool("force")
	switch {
	case to < 0:
		return errors.New("--to: name the frame, as in --to 3; `call frames.list` shows the frames of a run")
	case !confirm:
		return fmt.Errorf("everything beyond frame %d will be done again; add --confirm if that is what you want", to)
	}
	var answer wire.Rewound
	raw, err := gw.call(cmd.Context(), wire.MethodRewindRun,
		map[string]any{"runId": args[0], "frameNo": to, "confirm": true, "force": force}, &answer)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	out := cmd.OutOrStdout()
	for _, c := range append(answer.EffectBoundary.Blocking, answer.EffectBoundary.Warnings...) {
		if _, err := fmt.Fprintf(out, "side effect of %s (attempt %d) lies behind: %s\n", c.NodeID, c.Attempt, c.Reason); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s: goes on from frame %d; %d frames and %d attempts are archived\n", args[0], answer.NewFrameNo, answer.DeletedFrames, answer.DeletedAttempts)
	return err
}
