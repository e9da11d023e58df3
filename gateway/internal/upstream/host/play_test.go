package host

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const playEnv = "HOST_TEST_PLAY"

// play is the script as the tests need it: it answers on the socket and does what its
// role says.
func play(role string) {
	reports := os.NewFile(4, "reports")
	say := func(r any) {
		line, _ := json.Marshal(r)
		_, _ = reports.Write(append(line, '\n'))
	}
	lines := bufio.NewScanner(os.NewFile(3, "lifeline"))
	lines.Scan()
	var c config
	_ = json.Unmarshal(lines.Bytes(), &c)

	switch role {
	case "throws":
		say(report{Type: reportFailed, Stage: "register", Name: "TypeError", Message: "boom",
			Stack: "TypeError: boom\n    at register (" + c.Module + ":3:7)"})
		os.Exit(70)
	case "dies":
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	case "hangs":
		select {}
	case "breeds": // leaves a grandchild in the group that ignores what it is told
		child := exec.Command("/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1000; done")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			os.Exit(4)
		}
		_ = os.WriteFile(filepath.Join(c.Workspace, "grandchild"), fmt.Append(nil, child.Process.Pid), 0o600)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	}
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		os.Exit(5)
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"ok":true}`) }))
	}()
	fmt.Println("hello from", role)
	say(report{Type: reportReady, Version: "0.0.0", Workflows: []Workflow{{Key: "one"}}})
	for lines.Scan() {
		if strings.Contains(lines.Text(), "retire") {
			say(report{Type: reportBusy, Runs: 1})
			say(report{Type: reportBusy})
		}
	}
	if role == "stubborn" || role == "breeds" {
		select {} // it does not notice that it is alone
	}
}

// playing returns options with which the test binary is the runtime.
func playing(t *testing.T, role string) Options {
	t.Helper()
	dir := t.TempDir()
	module := filepath.Join(dir, "gateway.mjs")
	require.NoError(t, os.WriteFile(module, nil, 0o600))
	self, err := os.Executable()
	require.NoError(t, err)
	return Options{
		Module: module, DBPath: filepath.Join(dir, "s.db"), Command: self, Env: append(os.Environ(), playEnv+"="+role),
		Logger: zap.NewNop(), StopGrace: 5 * time.Second,
	}
}
