package client

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Request sends a request frame without waiting for the answer, and returns its id.
func (s *Socket) Request(method string, params any) (id string, err error) {
	id = fmt.Sprint(s.nextN)
	s.nextN++
	data, err := json.Marshal(map[string]any{"type": "req", "id": id, "method": method, "params": params})
	if err != nil {
		return "", err
	}
	return id, s.Write(data)
}

// Call sends a request and reads up to its answer. What comes before it is dropped.
func (s *Socket) Call(method string, params any) ([]byte, error) {
	id, err := s.Request(method, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	head := []byte(`{"type":"res","id":"` + id + `"`)
	for {
		message, err := s.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if !bytes.HasPrefix(message, head) {
			continue
		}
		if !bytes.Contains(message[:min(len(message), 2*len(head)+32)], []byte(`"ok":true`)) {
			return nil, fmt.Errorf("%s: %w: %.300s", method, ErrRefused, message)
		}
		return message, nil
	}
}

// Connect signs in. subscribe limits plain events to these runs; nil: all runs.
func (s *Socket) Connect(token string, subscribe []string) ([]byte, error) {
	params := map[string]any{
		"minProtocol": 1, "maxProtocol": 1, "client": map[string]string{"id": "bench"}, "auth": map[string]string{"token": token},
	}
	if subscribe != nil {
		params["subscribe"] = subscribe
	}
	return s.Call("connect", params)
}

// Stream opens a stream of a run's next events.
func (s *Socket) Stream(runID string) error {
	_, err := s.Call("streamRunEvents", map[string]any{"runId": runID})
	return err
}
