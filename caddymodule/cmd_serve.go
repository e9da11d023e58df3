package caddymodule

import (
	_ "embed"
	"errors"
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
)

//go:embed serve.Caddyfile
var serveCaddyfile []byte

func serveCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "serve",
		Usage: "[--print]",
		Short: "Runs a gateway set up by environment variables alone",
		Long: `
Runs one gateway over plain HTTP, for a container, a first try or behind a TLS
edge. These variables set it up; each may be absent:

  PORT                                 7331
  SMITHERS_DB_PATH                     /data/smithers.db
  SMITHERS_TOKEN_STORE                 /data/tokens.json
  SMITHERS_GATEWAY_MODULE              /workspace/gateway.mjs
  SMITHERS_GATEWAY_HEARTBEAT_MS        15000
  SMITHERS_GATEWAY_EVENT_WINDOW        10000
  SMITHERS_GATEWAY_HEADERS_TIMEOUT_MS  30000
  SMITHERS_GATEWAY_REQUEST_TIMEOUT_MS  60000
  CADDY_ADMIN                          off; an address enables Caddy's admin API

For TLS, several sites or any other setting write a Caddyfile, beginning with what
--print shows, and use the run command.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.Flags().Bool("print", false, "print the Caddyfile that is run, and end")
			cmd.RunE = runE(serve)
		},
	}
}

func serve(cmd *cobra.Command, _ []string) error {
	if show, _ := cmd.Flags().GetBool("print"); show {
		_, err := cmd.OutOrStdout().Write(serveCaddyfile)
		return err
	}
	caddy.TrapSignals()
	config, err := serveConfig()
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	select {} // signals end the process
}

// serveConfig adapts the embedded Caddyfile to the environment.
func serveConfig() ([]byte, error) {
	// Checked first: a malformed port would read as a malformed address.
	if _, err := gateway.FromEnviron(os.LookupEnv, gateway.DefaultSettings()); err != nil {
		return nil, err
	}
	// The Caddyfile syntax takes an empty variable for a value, the gateway for unset.
	for _, name := range []string{gateway.EnvPort, gateway.EnvHeadersTimeout, "CADDY_ADMIN"} {
		if os.Getenv(name) == "" {
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, errors.New("this binary was built without the caddyfile adapter")
	}
	config, warnings, err := adapter.Adapt(serveCaddyfile, map[string]any{"filename": "serve.Caddyfile"})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, "Warning:", w.String())
	}
	return config, nil
}
