package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/smithersai/caddy-smithers/gateway"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// Environment of the commands that speak to a gateway.
const (
	envGatewayURL = "SMITHERS_GATEWAY_URL"
	envAPIKey     = "SMITHERS_API_KEY"
)

// apiTimeout bounds one call.
const apiTimeout = 60 * time.Second

// apiClient speaks to a gateway for a command.
type apiClient struct {
	client.Client
}

func apiFlags(cmd *cobra.Command) {
	cmd.PersistentFlags().String("url", "", "`address` of the gateway (default http://127.0.0.1:$PORT)")
	cmd.PersistentFlags().String("token", "", "access `token` (default $"+envAPIKey+")")
}

// runAPI runs a command that speaks to the gateway of its flags.
func runAPI(f func(cmd *cobra.Command, args []string, gw *apiClient, asJSON bool) error) func(*cobra.Command, []string) error {
	return runE(func(cmd *cobra.Command, args []string) error {
		asJSON, err := formatOf(cmd)
		if err != nil {
			return err
		}
		gw, err := apiOf(cmd)
		if err != nil {
			return err
		}
		return f(cmd, args, gw, asJSON)
	})
}

func apiOf(cmd *cobra.Command) (*apiClient, error) {
	base, _ := cmd.Flags().GetString("url")
	if base == "" {
		base = os.Getenv(envGatewayURL)
	}
	if base == "" {
		port, _, err := gateway.Port(os.LookupEnv)
		if err != nil {
			return nil, err
		}
		base = "http://127.0.0.1:" + strconv.Itoa(port)
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--url: %q is not an address such as https://gateway.example.com", base)
	}
	token, _ := cmd.Flags().GetString("token")
	if token == "" {
		token = os.Getenv(envAPIKey)
	}
	return &apiClient{client.Client{Base: strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), Token: token,
		HTTP: &http.Client{}}}, nil
}

// call calls a method, decodes its payload into result unless that is nil, and returns
// it as it came.
func (gw *apiClient) call(ctx context.Context, method string, params, result any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var raw json.RawMessage
	if err := gw.Call(ctx, url.PathEscape(method), params, &raw); err != nil {
		return nil, gw.explain(err)
	}
	if result == nil {
		return raw, nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return nil, fmt.Errorf("%s: the answer cannot be read: %w", method, err)
	}
	return raw, nil
}

// explain adds to an error what to do about it.
func (gw *apiClient) explain(err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		switch {
		case refused.Code == "UNAUTHORIZED" && gw.Token == "":
			return fmt.Errorf("%w (set %s or give --token)", err, envAPIKey)
		case refused.Code == "UNAUTHORIZED":
			return fmt.Errorf("%w (is the token of this gateway?)", err)
		}
		return err
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("%s cannot be reached; is the gateway running, is --url right? %w", gw.Base, err)
	}
	return err
}
