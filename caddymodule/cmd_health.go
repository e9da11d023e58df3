package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
)

// healthBody bounds what is read and shown of an answer.
const healthBody = 4 << 10

func healthCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "health",
		Usage: "[--address <host:port>] [--timeout <duration>]",
		Short: "Asks a gateway on this machine whether it is ready",
		Long: `
Exits 0 if the gateway answers that it is ready to work, else 1 with the reason. Meant
as the health check of a container; without --address it asks the port of PORT.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.Flags().String("address", "", "`host:port` to ask (default 127.0.0.1:$PORT)")
			cmd.Flags().Duration("timeout", 3*time.Second, "longest time to wait for the answer")
			cmd.RunE = runE(health)
		},
	}
}

func health(cmd *cobra.Command, _ []string) error {
	address, _ := cmd.Flags().GetString("address")
	timeout, _ := cmd.Flags().GetDuration("timeout")
	if timeout <= 0 {
		return fmt.Errorf("--timeout: %s is not above 0", timeout)
	}
	if address == "" {
		port, _, err := gateway.Port(os.LookupEnv)
		if err != nil {
			return err
		}
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	client := &http.Client{
		Timeout: timeout,
		// A proxy of the environment has no business between a gateway and its own check.
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, "http://"+address+"/health/ready", nil)
	if err != nil {
		return fmt.Errorf("--address: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, healthBody))
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace("not ready: " + response.Status + " " + text))
	}
	fmt.Fprintln(cmd.OutOrStdout(), text)
	return nil
}
