package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// discard is a writer of answers that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// BenchmarkCall is what small calls cost the gateway itself, without a web server.
func BenchmarkCall(b *testing.B) {
	h := start(b, b.TempDir(), nil, Site{})
	runID := h.launch("static", nil)
	h.await(runID, "finished")
	handler := h.gateway.Handler(Site{})
	for _, call := range []struct{ method, body string }{{"health", "{}"}, {"getRun", `{"runId":"` + runID + `"}`}} {
		b.Run(call.method, func(b *testing.B) {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/rpc/"+call.method, nil)
			r.Header.Set("Authorization", "Bearer op")
			r.ContentLength = int64(len(call.body))
			body := strings.NewReader("")
			r.Body = io.NopCloser(body)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(call.body)
				clear(w.header)
				handler.ServeHTTP(w, r)
			}
			if w.status != http.StatusOK {
				b.Fatal("status", w.status)
			}
		})
	}
}
