// Package client is a small client of the gateway for this repository's own
// programs: the demo, the tests of the built binary, the load generator. It shares
// no code with the server, so a mistake there cannot hide behind the same mistake
// here. Users of the gateway take @smithers-orchestrator/gateway-client.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxAnswer bounds what is read of an HTTP answer.
const maxAnswer = 128 << 20

// Client calls one gateway. It is safe for concurrent use.
type Client struct {
	Base  string       // "http://127.0.0.1:7331", without a trailing slash
	Token string       // "": none is sent
	HTTP  *http.Client // nil: http.DefaultClient
	TLS   *tls.Config  // of sockets to an https base; nil: what the system trusts
	// Connect opens the connections of sockets; nil: to the host of Base. Header is sent
	// with their upgrade.
	Connect func(context.Context) (net.Conn, error)
	Header  http.Header
}

// Error is an error answer of the gateway.
type Error struct {
	Status  int            // HTTP status; 0 on a socket
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Extra   map[string]any `json:"-"` // the members beside code and message
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// UnmarshalJSON keeps the members that only some errors have.
func (e *Error) UnmarshalJSON(b []byte) error {
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	e.Code, _ = all["code"].(string)
	e.Message, _ = all["message"].(string)
	delete(all, "code")
	delete(all, "message")
	e.Extra = all
	return nil
}

// IsCode reports whether err is an answer with this error code.
func IsCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Call does POST /v1/rpc/{method}. params is encoded as the body (nil: an empty
// object); the payload is decoded into result unless that is nil. A refusal is an
// *Error.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	if params == nil {
		params = struct{}{}
	}
	body, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/v1/rpc/"+method, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	req.Header.Set("Content-Type", "application/json")
	status, answer, err := c.do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var frame Frame
	if err := json.Unmarshal(answer, &frame); err != nil || frame.Type != "res" {
		return fmt.Errorf("%s: HTTP %d is not a response frame: %.200s", method, status, answer)
	}
	if frame.Error != nil {
		frame.Error.Status = status
	}
	return frame.into(result)
}

// Get reads a path of the gateway.
func (c *Client) Get(ctx context.Context, path string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		return 0, nil, err
	}
	return c.do(req)
}

func (c *Client) do(req *http.Request) (int, []byte, error) {
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	httpc := c.HTTP
	if httpc == nil {
		httpc = http.DefaultClient
	}
	resp, err := httpc.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}

// Frame is one message of the gateway: a response or an event.
type Frame struct {
	Type         string          `json:"type"`
	ID           string          `json:"id"`
	OK           bool            `json:"ok"`
	Payload      json.RawMessage `json:"payload"`
	Error        *Error          `json:"error"`
	Event        string          `json:"event"`
	Seq          int64           `json:"seq"`
	StateVersion int64           `json:"stateVersion"`
	APIVersion   string          `json:"apiVersion"`
}

func (f *Frame) into(result any) error {
	switch {
	case f.Error != nil:
		return f.Error
	case !f.OK:
		return errors.New("the answer is neither ok nor an error")
	case result == nil:
		return nil
	}
	return json.Unmarshal(f.Payload, result)
}

// RunEvent is the payload of a run.event frame.
type RunEvent struct {
	StreamID     string          `json:"streamId"`
	RunID        string          `json:"runId"`
	Event        string          `json:"event"`
	Payload      json.RawMessage `json:"payload"`
	Seq          int64           `json:"seq"`
	StateVersion int64           `json:"stateVersion"`
}

// Gap is the payload of a run.gap_resync frame: the events from FromSeq to ToSeq
// can no longer be had.
type Gap struct {
	StreamID string          `json:"streamId"`
	RunID    string          `json:"runId"`
	FromSeq  int64           `json:"fromSeq"`
	ToSeq    int64           `json:"toSeq"`
	Snapshot json.RawMessage `json:"snapshot"`
}

// Run is the part of a run row that this repository's programs look at.
type Run struct {
	RunID       string         `json:"runId"`
	WorkflowKey string         `json:"workflowKey"`
	Status      string         `json:"status"`
	ErrorJSON   *string        `json:"errorJson"`
	Summary     map[string]int `json:"summary"`
}

// Ended reports whether the run has reached a terminal status.
func (r *Run) Ended() bool {
	switch r.Status {
	case "finished", "failed", "cancelled", "continued":
		return true
	}
	return false
}

// Run reads one run.
func (c *Client) Run(ctx context.Context, runID string) (*Run, error) {
	var r Run
	if err := c.Call(ctx, "getRun", map[string]any{"runId": runID}, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// Launch starts a run and returns its id.
func (c *Client) Launch(ctx context.Context, workflow string, input any) (string, error) {
	var r struct{ RunID string }
	err := c.Call(ctx, "launchRun", map[string]any{"workflow": workflow, "input": input}, &r)
	return r.RunID, err
}

func (c *Client) socketURL() string {
	return "ws" + strings.TrimPrefix(c.Base, "http") + "/"
}
