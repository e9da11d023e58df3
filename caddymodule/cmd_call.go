package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// maxParams bounds what is read from the standard input; the gateway takes no more.
const maxParams = 1 << 20

func callCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "call",
		Usage: "METHOD [JSON|-] [--url <address>] [--token <token>]",
		Short: "Calls a method of a gateway and prints its answer",
		Long: `
Calls any method of the protocol with the parameters given as a JSON object, or read
from the standard input for "-", and prints the answer as JSON. A refusal is an error
with its code. Which gateway and which token: see the command runs.`,
		CobraFunc: func(cmd *cobra.Command) {
			apiFlags(cmd)
			cmd.Args = func(_ *cobra.Command, args []string) error {
				if len(args) == 0 || len(args) > 2 || args[0] == "" {
					return errors.New(`call: give a method and its parameters, as in: call getRun '{"runId":"build-7"}'`)
				}
				return nil
			}
			cmd.RunE = runE(callMethod)
		},
	}
}

func callMethod(cmd *cobra.Command, args []string) error {
	text := []byte("{}")
	if len(args) == 2 {
		text = []byte(args[1])
	}
	if string(text) == "-" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxParams+1)); err != nil {
			return fmt.Errorf("call: standard input: %w", err)
		}
		if len(text) > maxParams {
			return fmt.Errorf("call: the parameters are longer than %d bytes", maxParams)
		}
	}
	var params map[string]json.RawMessage
	if err := json.Unmarshal(text, &params); err != nil || params == nil {
		return fmt.Errorf("call: the parameters of %s are not a JSON object: %.80s", args[0], text)
	}
	gw, err := apiOf(cmd)
	if err != nil {
		return err
	}
	raw, err := gw.call(cmd.Context(), args[0], params, nil)
	if err != nil {
		return err
	}
	return printJSON(cmd.OutOrStdout(), raw)
}
