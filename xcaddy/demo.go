package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/internal/client"
)

const (
	demoWorkflow = "demo"
	demoScopes   = "run:read,run:write,approval:submit,signal:submit"
	demoTTL      = "12h"
	demoLogTail  = 30
	tokenTime    = 30 * time.Second // a new token counts within one second, on a machine that is not busy
)

const demoAbout = `Build the gateway, start it on a fresh folder, launch examples/gateway.mjs, stream the
run, cut the connection in the middle, resume it, approve, and print the result. Then
keep serving for you to try. Every claim it prints is checked; a missing or repeated
event ends it with status 1.

Usage: go run ./xcaddy demo [options]`

func demoCommand(ctx context.Context, c *console, args []string) (err error) {
	var exit, noBuild bool
	var port int
	fs := newFlags(c, "demo", demoAbout)
	fs.BoolVar(&exit, "exit", false, "stop after the run instead of serving on")
	fs.IntVar(&port, "port", defaultPort, "listen on this `port`, or the next free one")
	fs.BoolVar(&noBuild, "no-build", false, "use bin/smithers-gateway as it stands")
	if err := parse(fs, args); err != nil {
		return err
	}
	if port < 1 || port > 65535 {
		return usagef("demo: --port %d is not a port number", port)
	}
	co, err := findCheckout(ctx, ".")
	if err != nil {
		return err
	}
	binary, err := ensureBinary(ctx, c, co, noBuild)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "smithers-demo-")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(folder); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("removing the data folder: %w", removeErr))
		}
	}()
	d := &demo{c: c, binary: binary, folder: folder, module: filepath.Join(co.root, "examples", "gateway.mjs")}
	return d.play(ctx, port, exit)
}

// demo is one performance.
type demo struct {
	c      *console
	binary string
	folder string
	module string
	client *client.Client
}

func (d *demo) play(ctx context.Context, port int, exit bool) (err error) {
	port, err = freePort(port)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(d.folder, "gateway.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.c.step("Starting the gateway with %s", tidyPath(d.module))
	s, err := startServer(serverOptions{
		binary: d.binary, args: []string{"serve"}, dir: d.folder, out: log, port: port,
		env: standalone(d.folder, port, d.module),
	})
	if err != nil {
		return err
	}
	defer func() {
		stopErr := s.stop()
		if err == nil {
			err = stopErr
		}
		if err != nil && ctx.Err() == nil {
			d.c.note("The last lines of the gateway's log:\n%s", d.logTail(log.Name()))
		}
	}()
	if err := s.ready(ctx); err != nil {
		return err
	}
	d.c.say("  %s answers on %s", d.c.paint(green, "✓"), s.url)

	token, err := d.issueToken(ctx)
	if err != nil {
		return err
	}
	d.client = &client.Client{Base: s.url, Token: token}
	if err := d.tokenCounts(ctx); err != nil {
		return err
	}
	d.c.say("  %s token issued for %s", d.c.paint(green, "✓"), demoScopes)

	if err := d.story(ctx); err != nil {
		return err
	}
	if exit {
		return nil
	}
	d.farewell(token)
	d.c.say("\nServing until Ctrl-C.")
	select {
	case <-ctx.Done():
		d.c.say("\nStopping.")
		return nil
	case <-s.done:
		return fmt.Errorf("the gateway ended by itself: %w", s.reason())
	}
}

// issueToken runs the binary's own command, as an operator would.
func (d *demo) issueToken(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, d.binary, "token", "issue",
		"--store", filepath.Join(d.folder, "tokens.json"), "--scopes", demoScopes,
		"--user-id", "demo", "--ttl", demoTTL, "--format", "json")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("token issue: %w\n%s%s", err, out.String(), errOut.String())
	}
	var issued struct{ Token string }
	if err := json.Unmarshal(out.Bytes(), &issued); err != nil || issued.Token == "" {
		return "", fmt.Errorf("token issue printed no token: %s", out.String())
	}
	return issued.Token, nil
}

// tokenCounts waits until the running gateway has noticed the token.
func (d *demo) tokenCounts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := d.client.Call(ctx, "listRuns", nil, nil)
		if err == nil || !client.IsCode(err, "UNAUTHORIZED") {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the gateway does not notice the token it was issued: %w", err)
		}
	}
}

func (d *demo) farewell(token string) {
	url := d.client.Base
	auth := fmt.Sprintf(`-H "Authorization: Bearer %s"`, token)
	d.c.step("Try it yourself")
	d.c.say("  URL    %s\n  token  %s\n", d.c.paint(cyan, url), d.c.paint(cyan, token))
	d.c.say("  curl -s %s/health", url)
	d.c.say("  curl -s %s/v1/rpc/listRuns %s -d '{}'", url, auth)
	d.c.say("  curl -s %s/v1/rpc/launchRun %s -d '{\"workflow\":\"%s\"}'", url, auth, demoWorkflow)
}

func (d *demo) logTail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"http.log.access"`) { // the demo's own requests say nothing
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines[max(0, len(lines)-demoLogTail):], "\n")
}
