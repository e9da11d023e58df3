// Package hosttest lets a test binary play Bun: started as the runtime of a host, it
// speaks the script's side of the conversation and does what the module says in
// comments, one a line: "// play ROLE".
package hosttest

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
)

// Env makes a test binary play when it is set.
const Env = "SMITHERS_HOST_TEST"

// Roles of a module.
const (
	Throws   = "throws"   // register throws
	Dies     = "dies"     // ends before it is ready
	Hangs    = "hangs"    // is never ready
	Breeds   = "breeds"   // has a child that ignores what it is told; its number is in the file "grandchild" beside the module
	Stubborn = "stubborn" // ignores SIGTERM, and that it is alone
	Busy     = "busy"     // retires only when the file "idle" is beside the module
)

// Main plays if the binary was started as a runtime, and reports that it did. TestMain
// calls it first.
func Main() bool {
	if os.Getenv(Env) == "" {
		return false
	}
	play()
	return true
}

// Write writes a module that imports smithers-orchestrator and has roles, and returns
// its path.
func Write(t testing.TB, dir string, roles ...string) string {
	t.Helper()
	text := "import \"smithers-orchestrator\";\n"
	for _, role := range roles {
		text += "// play " + role + "\n"
	}
	path := filepath.Join(dir, "gateway.mjs")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func play() {
	reports := os.NewFile(4, "reports")
	say := func(kind string, fields map[string]any) {
		fields["type"] = kind
		line, _ := json.Marshal(fields)
		_, _ = reports.Write(append(line, '\n'))
	}
	lines := bufio.NewScanner(os.NewFile(3, "lifeline"))
	lines.Scan()
	var c struct {
		Module, Socket string
		Check          bool
	}
	_ = json.Unmarshal(lines.Bytes(), &c)
	module, _ := os.ReadFile(c.Module)
	has := func(role string) bool { return strings.Contains(string(module), "// play "+role+"\n") }
	beside := func(name string) string { return filepath.Join(filepath.Dir(c.Module), name) }

	switch {
	case has(Throws):
		say("failed", map[string]any{"stage": "register", "name": "TypeError", "message": "boom",
			"stack": "TypeError: boom\n    at register (" + c.Module + ":3:7)"})
		os.Exit(70)
	case has(Dies):
		fmt.Fprintln(os.Stderr, "cannot go on")
		os.Exit(3)
	case has(Hangs):
		select {}
	case has(Breeds):
		child := exec.Command("/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1000; done")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			os.Exit(4)
		}
		_ = os.WriteFile(beside("grandchild"), fmt.Append(nil, child.Process.Pid), 0o600)
	case has(Stubborn):
		signal.Ignore(syscall.SIGTERM)
	}
	registered := map[string]any{"version": "0.0.0", "workflows": []map[string]any{{"key": "one"}}}
	if c.Check {
		say("registered", registered)
		return
	}
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		os.Exit(5)
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(answer)) }()
	fmt.Println("hello from the process")
	say("ready", registered)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "retire") {
			continue
		}
		say("busy", map[string]any{"runs": 1})
		for has(Busy) {
			if _, err := os.Stat(beside("idle")); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		say("busy", map[string]any{"runs": 0})
	}
	if has(Stubborn) || has(Breeds) {
		select {} // it does not notice that it is alone
	}
}

// answer is a gateway with one workflow and no runs.
func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	payload := "[]"
	switch {
	case r.URL.Path == "/health":
		fmt.Fprintln(w, `{"ok":true,"protocol":1,"features":[],"stateVersion":0,"identity":{}}`)
		return
	case strings.HasSuffix(r.URL.Path, "/listWorkflows"):
		payload = `[{"key":"one","readableName":null,"description":null,"hasUi":false,"system":false}]`
	}
	fmt.Fprintf(w, `{"type":"res","id":"1","ok":true,"apiVersion":"v1","payload":%s}`, payload)
}
