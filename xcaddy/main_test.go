package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// testConsole is a console that keeps what is printed.
func testConsole() (c *console, out, errOut *bytes.Buffer) {
	out, errOut = new(bytes.Buffer), new(bytes.Buffer)
	return &console{out: out, err: errOut}, out, errOut
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		name        string
		args        []string
		code        int
		out, errOut string
	}{
		{"no command", nil, exitUsage, "", "which command?"},
		{"help", []string{"--help"}, exitOK, "Commands:", ""},
		{"unknown command", []string{"bild"}, exitUsage, "", `unknown command "bild"`},
		{"build help", []string{"build", "--help"}, exitOK, "-with MODULE[@VERSION][=PATH]", ""},
		{"run help", []string{"run", "-h"}, exitOK, "-config Caddyfile", ""},
		{"demo help", []string{"demo", "--help"}, exitOK, "-exit", ""},
		{"unknown option", []string{"build", "--wiht", "x"}, exitUsage, "", "-wiht"},
		{"left over argument", []string{"demo", "now"}, exitUsage, "", `unexpected argument "now"`},
		{"plain with plugins", []string{"build", "--plain", "--with", "example.com/a"}, exitUsage, "", "cannot be combined"},
		{"version with a space", []string{"build", "--version", "1 -X a=b"}, exitUsage, "", "--version"},
		{"port out of range", []string{"demo", "--port", "70000"}, exitUsage, "", "70000"},
		{"config not there", []string{"run", "--no-build", "--config"}, exitUsage, "", "-config"},
		{"with nothing", []string{"build", "--with", ""}, exitUsage, "", "MODULE[@VERSION][=PATH]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, out, errOut := testConsole()
			require.Equal(t, tc.code, dispatch(t.Context(), c, tc.args), errOut)
			require.Contains(t, out.String(), tc.out)
			require.Contains(t, errOut.String(), tc.errOut)
		})
	}
}

func TestInterruptedIsNotAFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, _, errOut := testConsole()
	require.Equal(t, exitInterrupted, dispatch(ctx, c, []string{"build"}))
	require.Contains(t, errOut.String(), "interrupted")
}

func TestParsePlugin(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "go.mod", "module example.com/mine\n")
	for text, want := range map[string]plugin{
		"example.com/a":                  {module: "example.com/a"},
		"example.com/a@v1.2.3":           {module: "example.com/a", version: "v1.2.3"},
		"example.com/mine=" + dir:        {module: "example.com/mine", version: "v0.0.0-00010101000000-000000000000", path: dir},
		"example.com/mine@v0.1.0=" + dir: {module: "example.com/mine", version: "v0.1.0", path: dir},
	} {
		got, err := parsePlugin(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	require.Equal(t, "v3.0.0-00010101000000-000000000000", localVersion("example.com/mine/v3"))
	require.Equal(t, "v2.0.0-00010101000000-000000000000", localVersion("gopkg.in/mine.v2"))
	require.Equal(t, "v0.0.0-00010101000000-000000000000", localVersion("example.com/mine.v2"))
	for _, text := range []string{"", "=x", "@v1", "example.com/a@", "example.com/a=", "example.com/a=" + t.TempDir(), "a b", modulePath, pluginPath} {
		_, err := parsePlugin(text)
		var usage *usageError
		require.True(t, errors.As(err, &usage), text)
	}
}
