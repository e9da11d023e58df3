package deploytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// patience bounds every wait for something that usually takes a moment.
const patience = 3 * time.Minute

// fileLimit is what this machine lets a container have of open files.
func fileLimit(t *testing.T) uint64 {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return limit.Max
}

// wantedFiles is what docker-compose.yml and the units ask for, at most.
const wantedFiles = 131_072

// engine makes sure that containers can be run.
func engine(t *testing.T) {
	t.Helper()
	tool(t, "docker")
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		absent(t, "no Docker engine: %s", out)
	}
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(output(t, "docker", args...))
}

// waitFor polls until ok; there is no event to wait for outside a container.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		require.True(t, time.Now().Before(deadline), "waiting for %s", what)
		time.Sleep(20 * time.Millisecond)
	}
}

// remote calls a gateway at base and believes the certificates signed by root, which
// is in PEM; an empty one serves for plain HTTP.
func remote(t *testing.T, base, token, root string) *client.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if root != "" {
		require.True(t, pool.AppendCertsFromPEM([]byte(root)))
	}
	config := &tls.Config{RootCAs: pool}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	return &client.Client{Base: base, Token: token, TLS: config, HTTP: &http.Client{Transport: transport, Timeout: patience}}
}

// from makes the requests of a client come from another address of this machine.
func from(c *client.Client, address string) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c.HTTP.Transport.(*http.Transport).DialContext = dialer.DialContext
}

func denied(t *testing.T, c *client.Client) {
	t.Helper()
	err := c.Call(t.Context(), "listRuns", nil, nil)
	require.True(t, client.IsCode(err, "UNAUTHORIZED"), "%v", err)
}

func answers(c *client.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.Call(ctx, "listRuns", nil, nil) == nil
}

func ready(c *client.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, _, err := c.Get(ctx, "/health/ready")
	return err == nil && status == http.StatusOK
}

// launch starts the reference workflow and lets it past its approval.
func launch(t *testing.T, c *client.Client, id string, hosts int) {
	t.Helper()
	params := map[string]any{"workflow": "release", "input": map[string]any{"hosts": hosts}, "options": map[string]any{"runId": id}}
	require.NoError(t, c.Call(t.Context(), "launchRun", params, nil))
	waitFor(t, "the approval of "+id, func() bool {
		run, err := c.Run(t.Context(), id)
		return err == nil && run.Status == "waiting-approval"
	})
	decision := map[string]any{"runId": id, "nodeId": "go-live", "approved": true}
	require.NoError(t, c.Call(t.Context(), "submitApproval", decision, nil))
}

// follow collects events of a run after a number until enough says so or the socket
// ends. Numbers must follow each other.
func follow(t *testing.T, s *client.Socket, id string, events []*client.RunEvent, enough func([]*client.RunEvent) bool) []*client.RunEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	after := int64(len(events))
	opened, err := s.Stream(ctx, id, &after)
	require.NoError(t, err)
	err = s.Follow(ctx, opened.StreamID, func(item client.Item) bool {
		require.Nil(t, item.Gap)
		require.Nil(t, item.Error)
		require.EqualValues(t, len(events)+1, item.Event.Seq, "each event once and in order")
		events = append(events, item.Event)
		return !enough(events)
	})
	require.NoError(t, err)
	return events
}

func completed(events []*client.RunEvent) bool { return events[len(events)-1].Event == "run.completed" }

func count(events []*client.RunEvent, name, contains string) int {
	n := 0
	for _, e := range events {
		if e.Event == name && strings.Contains(string(e.Payload), contains) {
			n++
		}
	}
	return n
}

// composeTool writes a `docker` for the commands of the guide: `docker compose` is
// whatever Compose there is, with an override for what this machine cannot do for a
// service.
func composeTool(t *testing.T, service string) (folder string) {
	t.Helper()
	override := fmt.Sprintf("services:\n  %s:\n    environment: {}\n", service)
	if limit := fileLimit(t); limit < wantedFiles {
		t.Logf("this machine allows %d open files: the composed system gets no more", limit)
		override = fmt.Sprintf("services:\n  %s:\n    ulimits:\n      nofile: %d\n", service, limit)
	}
	real := tool(t, "docker")
	compose := real + " compose"
	if exec.Command(real, "compose", "version").Run() != nil {
		compose = tool(t, "docker-compose")
	}
	folder = t.TempDir()
	file := filepath.Join(folder, "override.yml")
	require.NoError(t, os.WriteFile(file, []byte(override), 0o644))
	script := fmt.Sprintf(`#!/bin/bash
[ "$1" = compose ] || exec %[1]s "$@"
shift
first=()
if [ "$1" = -f ]; then first=(-f "$2" -f %[2]s); shift 2; else COMPOSE_FILE=$COMPOSE_FILE:%[2]s; fi
exec %[3]s "${first[@]}" "$@"
`, real, file, compose)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "docker"), []byte(script), 0o755))
	t.Logf("Compose: %s", strings.SplitN(output(t, "sh", "-c", compose+" version"), "\n", 2)[0])
	return folder
}
