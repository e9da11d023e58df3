package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
)

const runAbout = `Build the gateway and serve in the foreground. Signals are passed on.

Without --config the environment alone configures it, as in a container: PORT,
SMITHERS_DB_PATH, SMITHERS_TOKEN_STORE, SMITHERS_GATEWAY_MODULE and the others of the
README. What is not set lives in ./data, and the module is ./gateway.mjs, or
examples/gateway.mjs of the checkout when there is none.

Usage: go run ./xcaddy run [options]`

func runCommand(ctx context.Context, c *console, args []string) error {
	var config string
	var noBuild bool
	fs := newFlags(c, "run", runAbout)
	fs.StringVar(&config, "config", "", "serve this `Caddyfile`")
	fs.BoolVar(&noBuild, "no-build", false, "serve bin/smithers-gateway as it stands")
	if err := parse(fs, args); err != nil {
		return err
	}
	co, err := findCheckout(ctx, ".")
	if err != nil {
		return err
	}
	binary, err := ensureBinary(ctx, c, co, noBuild)
	if err != nil {
		return err
	}
	o := serverOptions{binary: binary, out: os.Stderr}
	if config != "" {
		if _, err := os.Stat(config); err != nil {
			return usagef("run: --config: %v", err)
		}
		o.args = []string{"run", "--config", config, "--adapter", "caddyfile"}
		c.note("Serving %s; Ctrl-C stops.", config)
	} else if err := fromEnvironment(c, co, &o); err != nil {
		return err
	}
	return serveForeground(c, o)
}

// ensureBinary builds, or only looks when the user says the binary is fine.
func ensureBinary(ctx context.Context, c *console, co *checkout, noBuild bool) (string, error) {
	if !noBuild {
		return build(ctx, c, co, buildOptions{platform: hostPlatform()})
	}
	if _, err := os.Stat(co.binary()); err != nil {
		return "", fmt.Errorf("--no-build, but there is no %s yet; run `go run ./xcaddy build`", tidyPath(co.binary()))
	}
	return co.binary(), nil
}

// fromEnvironment fills in what the user's environment leaves open.
func fromEnvironment(c *console, co *checkout, o *serverOptions) error {
	port := defaultPort
	if text := os.Getenv("PORT"); text != "" {
		p, err := strconv.Atoi(text)
		if err != nil || p < 1 || p > 65535 {
			return usagef("run: PORT=%q is not a port number", text)
		}
		port = p
	}
	data, err := filepath.Abs("data")
	if err != nil {
		return err
	}
	module, err := filepath.Abs("gateway.mjs")
	if err != nil {
		return err
	}
	if _, err := os.Stat(module); err != nil {
		module = filepath.Join(co.root, "examples", "gateway.mjs")
	}
	defaults := map[string]string{
		"SMITHERS_DB_PATH":        filepath.Join(data, "smithers.db"),
		"SMITHERS_TOKEN_STORE":    filepath.Join(data, "tokens.json"),
		"SMITHERS_GATEWAY_MODULE": module,
	}
	for name, value := range defaults {
		if os.Getenv(name) == "" {
			o.env = append(o.env, name+"="+value)
		} else {
			defaults[name] = os.Getenv(name)
		}
	}
	if filepath.Dir(defaults["SMITHERS_DB_PATH"]) == data {
		if err := os.MkdirAll(data, 0o700); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	o.args = []string{"serve"}
	o.env = append(o.env, "PORT="+strconv.Itoa(port))
	c.note("Serving on http://127.0.0.1:%d with %s; Ctrl-C stops.", port, tidyPath(defaults["SMITHERS_GATEWAY_MODULE"]))
	c.note("A token: %s token issue --scopes run:read,run:write,approval:submit --ttl 1h --store %s",
		tidyPath(o.binary), tidyPath(defaults["SMITHERS_TOKEN_STORE"]))
	return nil
}

// serveForeground runs the gateway until it ends by itself or because of a signal.
func serveForeground(c *console, o serverOptions) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	s, err := startServer(o)
	if err != nil {
		return err
	}
	asked := false
	for {
		select {
		case sig := <-signals:
			asked = true
			_ = s.cmd.Process.Signal(sig)
		case <-s.done:
			var exit *exec.ExitError
			if errors.As(s.err, &exit) && asked {
				c.note("The gateway ended: %v.", s.err)
				return nil
			}
			return s.err
		}
	}
}
