package deploytest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// eventStream is an open stream of server-sent events of one run.
type eventStream struct {
	body   io.ReadCloser
	reader *bufio.Reader
}

// openStream asks for the events of a run behind a number; a number above 0 is sent the
// way a browser does that comes back.
func openStream(t *testing.T, c *client.Client, id string, after int64, header map[string]string) *eventStream {
	t.Helper()
	url := c.Base + "/v1/api/runs/" + id + "/stream"
	if after == 0 {
		url += "?afterSeq=0"
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+c.Token)
	request.Header.Set("Accept", "text/event-stream")
	if after > 0 {
		request.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := c.HTTP.Do(request) // its time limit holds for the body, too
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Contains(t, answer.Header.Get("Content-Type"), "text/event-stream")
	return &eventStream{body: answer.Body, reader: bufio.NewReader(answer.Body)}
}

// take adds events until enough says so. Numbers must follow each other, and be the
// ids that a client would come back with.
func (s *eventStream) take(t *testing.T, events []*client.RunEvent, enough func([]*client.RunEvent) bool) []*client.RunEvent {
	t.Helper()
	var name, id string
	for {
		line, err := s.reader.ReadString('\n')
		require.NoError(t, err, "after %d events", len(events))
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			require.Contains(t, []string{"run.stream", "run.event", "run.heartbeat"}, name, value)
			if name != "run.event" {
				continue
			}
			event := new(client.RunEvent)
			require.NoError(t, json.Unmarshal([]byte(value), event))
			require.EqualValues(t, len(events)+1, event.Seq, "each event once and in order")
			require.Equal(t, strconv.FormatInt(event.Seq, 10), id)
			if events = append(events, event); enough(events) {
				return events
			}
		}
	}
}

// ends holds that nothing follows but the end.
func (s *eventStream) ends(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(s.reader)
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(string(rest)))
}
