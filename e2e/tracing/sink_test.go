package tracing

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// sink is a collector that keeps what it is sent.
type sink struct {
	URL   string
	mu    sync.Mutex
	spans []*otlp.Span
}

// collect starts a collector.
func collect(t *testing.T) *sink {
	s := &sink{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// config is a Caddyfile of a gateway whose requests are traced into the collector.
func (s *sink) config(site *rig.Site, name, extra string) string {
	site.Env = append(site.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50")
	return site.Write("Caddyfile", strings.Replace(site.Caddyfile(extra, ""), "\tsmithers {", "\ttracing {\n\t\tspan "+name+"\n\t}\n\tsmithers {", 1))
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	var sent collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
		http.Error(w, "no traces", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range sent.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			s.spans = append(s.spans, scope.GetSpans()...)
		}
	}
}

// find waits for a span of a name that has all of the attributes ("key=value").
func (s *sink) find(t *testing.T, name string, attributes ...string) *otlp.Span {
	t.Helper()
	var found *otlp.Span
	rig.Wait(t, fmt.Sprintf("the span %q %v", name, attributes), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, span := range s.spans {
			all := text(span)
			ok := span.GetName() == name
			for _, a := range attributes {
				ok = ok && strings.Contains(all, " "+a+" ")
			}
			if ok {
				found = span
			}
		}
		return found != nil
	})
	return found
}

// above waits for the span that is the parent of another.
func (s *sink) above(t *testing.T, child *otlp.Span) *otlp.Span {
	t.Helper()
	require.NotEmpty(t, child.GetParentSpanId(), child.GetName())
	var found *otlp.Span
	rig.Wait(t, "the span above "+child.GetName(), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, span := range s.spans {
			if string(span.GetSpanId()) == string(child.GetParentSpanId()) {
				found = span
			}
		}
		return found != nil
	})
	require.Equal(t, found.GetTraceId(), child.GetTraceId())
	return found
}

func text(s *otlp.Span) string {
	var b strings.Builder
	b.WriteByte(' ')
	for _, a := range s.GetAttributes() {
		switch v := a.GetValue(); {
		case v.GetStringValue() != "":
			fmt.Fprintf(&b, "%s=%s ", a.GetKey(), v.GetStringValue())
		default:
			fmt.Fprintf(&b, "%s=%d ", a.GetKey(), v.GetIntValue())
		}
	}
	return b.String()
}

// linked holds that a run is a trace of its own with a link to its launch.
func linked(t *testing.T, run, call *otlp.Span) {
	t.Helper()
	require.Empty(t, run.GetParentSpanId())
	require.Len(t, run.GetLinks(), 1)
	require.Equal(t, hex.EncodeToString(call.GetSpanId()), hex.EncodeToString(run.GetLinks()[0].GetSpanId()))
}

// traceparent is a span as the header of that name tells it.
func traceparent(s *otlp.Span) string {
	return "00-" + hex.EncodeToString(s.GetTraceId()) + "-" + hex.EncodeToString(s.GetSpanId()) + "-01"
}

// linkedBy waits for the span that a run has a link to.
func (s *sink) linkedBy(t *testing.T, run *otlp.Span) *otlp.Span {
	t.Helper()
	require.Empty(t, run.GetParentSpanId())
	require.Len(t, run.GetLinks(), 1, run.GetName())
	var found *otlp.Span
	rig.Wait(t, "what launched "+run.GetName(), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, span := range s.spans {
			if string(span.GetSpanId()) == string(run.GetLinks()[0].GetSpanId()) {
				found = span
			}
		}
		return found != nil
	})
	return found
}

// links is the name of a span that has a link to another.
func (s *sink) links(to *otlp.Span) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.spans {
		for _, l := range span.GetLinks() {
			if string(l.GetSpanId()) == string(to.GetSpanId()) {
				return span.GetName()
			}
		}
	}
	return ""
}

func port(s *rig.Site) string { return strconv.Itoa(s.Port) }
