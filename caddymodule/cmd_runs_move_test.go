package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// TestMoveIsTold shows what the command makes of each answer.
func TestMoveIsTold(t *testing.T) {
	for name, c := range map[string]struct{ answer, out, err string }{
		"moved": {answer: `{"type":"res","id":"1","ok":true,"payload":{"runId":"r","moved":true,"from":"0123456789abcdef","to":"fedcba9876543210","status":"paused"}}`,
			out: "r: moved from 0123456789ab to fedcba987654\n"},
		"compiled": {answer: `{"type":"res","id":"1","ok":true,"payload":{"runId":"r","moved":true,"from":null,"to":"short","status":"paused"}}`,
			out: "r: moved from the compiled workflow to short\n"},
		"differs": {answer: `{"type":"res","id":"1","ok":false,"error":{"version":"v1","code":"CONFLICT","message":"Run r cannot be moved: replay differs at position 1: the journal has task \"a\""}}`,
			err: `CONFLICT: Run r cannot be moved: replay differs at position 1: the journal has task "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil || r.URL.Path != "/v1/rpc/runs.move" || string(bytes.TrimSpace(body)) != `{"runId":"r","to":"current"}` {
					t.Errorf("%s %s %v", r.URL.Path, body, err)
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			root := &cobra.Command{Use: "runs"}
			apiFlags(root)
			move := runsMoveCommand()
			formatFlag(move)
			root.AddCommand(move)
			var out, notes bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&notes)
			root.SetArgs([]string{"move", "r", "--to", "current", "--url", server.URL, "--token", "t"})
			err := root.Execute()
			require.Equal(t, c.out, out.String())
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
		})
	}
}
