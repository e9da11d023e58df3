package jsmod

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
)

// maxResponse bounds the body that fetch reads; it has to fit the VM's memory.
const maxResponse = 16 << 20

type fetchRequest struct {
	URL      string      `json:"url"`
	Method   string      `json:"method"`
	Headers  [][2]string `json:"headers"`
	Text     *string     `json:"text"`
	Base64   *string     `json:"base64"`
	Redirect string      `json:"redirect"` // "follow", "manual" or "error"
}

type fetchResponse struct {
	URL        string      `json:"url"`
	Status     int         `json:"status"`
	StatusText string      `json:"statusText"`
	Redirected bool        `json:"redirected"`
	Headers    [][2]string `json:"headers"`
	Text       *string     `json:"text,omitempty"`
	Base64     *string     `json:"base64,omitempty"`
}

func newHTTPClient(allow *fetchList) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if allow != nil {
		t.Proxy = nil // behind a proxy nobody here sees where a connection leads
		t.DialContext = allow.dial
	}
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = 5 * time.Minute
	return &http.Client{Transport: t}
}

var errRedirect = errors.New("unexpected redirect")

// fetch does one HTTP exchange. Cancelling ctx ends it; its span, if it has one, is told
// to the server unless the workflow has set the header itself.
func (h *Host) fetch(ctx context.Context, _ attemptID, request []byte) (any, error) {
	var r fetchRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	hr, err := r.build(ctx)
	if err != nil {
		return nil, err
	}
	client := *h.client
	redirected := false
	client.CheckRedirect = func(_ *http.Request, via []*http.Request) error {
		switch {
		case r.Redirect == "manual":
			return http.ErrUseLastResponse
		case r.Redirect == "error":
			return errRedirect
		case len(via) >= 20:
			return errors.New("too many redirects")
		}
		redirected = true
		return nil
	}
	resp, err := client.Do(hr)
	if refused, ok := errors.AsType[*program.Failure](err); ok {
		return nil, refused
	}
	if err != nil {
		return nil, &program.Failure{Name: "TypeError", Message: "fetch failed: " + err.Error(), Code: "FETCH_FAILED"}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, &program.Failure{Name: "TypeError", Message: "fetch: reading the response failed: " + err.Error(), Code: "FETCH_FAILED"}
	}
	if len(body) > maxResponse {
		return nil, &program.Failure{Name: "TypeError", Message: fmt.Sprintf("fetch: the response of %s is larger than %d MiB", r.URL, maxResponse>>20), Code: "FETCH_TOO_LARGE"}
	}
	out := fetchResponse{URL: resp.Request.URL.String(), Status: resp.StatusCode, Redirected: redirected, Headers: [][2]string{}}
	_, out.StatusText, _ = strings.Cut(resp.Status, " ")
	for name, values := range resp.Header {
		for _, v := range values {
			out.Headers = append(out.Headers, [2]string{strings.ToLower(name), v})
		}
	}
	if utf8.Valid(body) {
		text := string(body)
		out.Text = &text
	} else {
		text := base64.StdEncoding.EncodeToString(body)
		out.Base64 = &text
	}
	return out, nil
}

func (r *fetchRequest) build(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	switch {
	case r.Text != nil:
		body = strings.NewReader(*r.Text)
	case r.Base64 != nil:
		b, err := base64.StdEncoding.DecodeString(*r.Base64)
		if err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		body = strings.NewReader(string(b))
	}
	hr, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if hr.URL.Scheme != "http" && hr.URL.Scheme != "https" {
		return nil, fmt.Errorf("fetch: scheme %q is not supported, use http or https", hr.URL.Scheme)
	}
	for _, kv := range r.Headers {
		if strings.EqualFold(kv[0], "host") {
			hr.Host = kv[1]
			continue
		}
		hr.Header.Add(kv[0], kv[1])
	}
	if parent := tracing.Traceparent(ctx); parent != "" && hr.Header.Get(tracing.Header) == "" {
		hr.Header.Set(tracing.Header, parent)
	}
	if hr.Header.Get("User-Agent") == "" {
		hr.Header.Set("User-Agent", "Smithers-Gateway")
	}
	return hr, nil
}
