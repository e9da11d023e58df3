package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
	"github.com/smithersai/caddy-smithers/gateway/module"
)

func moduleCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "module",
		Usage: "check <file>",
		Short: "Looks at a workflow module without running it",
		CobraFunc: func(cmd *cobra.Command) {
			check := &cobra.Command{
				Use:   "check <file>",
				Short: "Bundles a module, registers its workflows and lists them",
				Long: `Does with a module what a starting gateway does, in a throwaway VM: bundles it with
everything it imports, calls its register function and lists what that registered.
A module that imports smithers-orchestrator registers in a process of its own, with
Bun and a throwaway database. Fails with file, line and message.`,
				Args: cobra.ExactArgs(1),
				RunE: runE(moduleCheck),
			}
			check.Flags().String("root", "", "`folder` that imports may not leave (default: as module_root)")
			check.Flags().StringSlice("env", nil, "environment `variables` that the module may read")
			check.Flags().String("runtime", os.Getenv(gateway.EnvRuntime), "what runs the module: auto, script or smithers")
			check.Flags().String("runtime-command", os.Getenv(gateway.EnvRuntimeCommand), "path or name of `Bun` (default: as runtime_command)")
			formatFlag(check)
			cmd.AddCommand(check)
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = runE(func(*cobra.Command, []string) error {
				return errors.New("module: the only command is check, as in: module check gateway.mjs")
			})
		},
	}
}

func moduleCheck(cmd *cobra.Command, args []string) error {
	asJSON, err := formatOf(cmd)
	if err != nil {
		return err
	}
	root, _ := cmd.Flags().GetString("root")
	env, _ := cmd.Flags().GetStringSlice("env")
	runtime, _ := cmd.Flags().GetString("runtime")
	command, _ := cmd.Flags().GetString("runtime-command")
	switch runtime {
	case "", gateway.RuntimeAuto, gateway.RuntimeScript, gateway.RuntimeSmithers:
	default:
		return fmt.Errorf("runtime: %q is not one of auto, script, smithers", runtime)
	}
	report, err := module.Check(cmd.Context(), args[0], module.Options{Root: root, Env: env, Runtime: runtime, Command: command})
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), report)
	}
	if report.Runtime == gateway.RuntimeSmithers {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: runs in Smithers %s, version %.12s\n", report.Path, report.Smithers, report.Hash)
	} else {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d bytes bundled, version %.12s\n", report.Path, report.Bytes, report.Hash)
	}
	if len(report.Workflows) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "It registers no workflows.")
		return nil
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "WORKFLOW\tNAME\tSCHEDULE\tWEBHOOK\tSYSTEM")
	for _, w := range report.Workflows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", w.Key, orDash(w.ReadableName), orDash(w.Schedule), yesNo(w.Webhook), yesNo(w.System))
	}
	return table.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
