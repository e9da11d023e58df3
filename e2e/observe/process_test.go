package observe

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
)

// playing makes this test binary the runtime of a module of Smithers, for the metrics
// that only such a process has; e2e/smithers has the real one.
const playing = "OBSERVE_PLAYS_SMITHERS"

const needsRuntime = "import \"smithers-orchestrator\";\n"

// play speaks the side of the runtime until the gateway hangs up.
func play() {
	reports, lines := os.NewFile(4, "reports"), bufio.NewScanner(os.NewFile(3, "lifeline"))
	lines.Scan()
	var c struct {
		Socket string
		Check  bool
	}
	if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
		os.Exit(1)
	}
	registered := `"version":"0.0.0","workflows":[{"key":"theirs"}]`
	if c.Check {
		fmt.Fprintf(reports, `{"type":"registered",%s}`+"\n", registered)
		return
	}
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		os.Exit(1)
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(answer)) }()
	fmt.Fprintf(reports, `{"type":"ready",%s}`+"\n", registered)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "retire") {
			fmt.Fprintln(reports, `{"type":"busy","runs":0}`)
		}
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	payload := "[]"
	switch {
	case r.URL.Path == "/health":
		fmt.Fprintln(w, `{"ok":true,"protocol":1,"features":[],"stateVersion":0,"identity":{}}`)
		return
	case strings.HasSuffix(r.URL.Path, "/listWorkflows"):
		payload = `[{"key":"theirs","readableName":null,"description":null,"hasUi":false,"system":false}]`
	}
	fmt.Fprintf(w, `{"type":"res","id":"1","ok":true,"apiVersion":"v1","payload":%s}`, payload)
}
