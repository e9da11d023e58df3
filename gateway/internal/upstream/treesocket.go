package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// treeSocket is a socket to an upstream that brings the frames of one run.
type treeSocket struct {
	*websocket.Conn
	quiet time.Duration // without a frame for so long, the socket is dead
}

const treeID = "frames" // of the request

// maxTreeHead is what a message may have around the event that it brings.
const maxTreeHead = 64 << 10

// treeFrame is what is used of a message.
type treeFrame struct {
	Type, ID, Event string
	OK              bool
	Error           json.RawMessage
	Payload         struct {
		Event, Error json.RawMessage
	}
}

// close ends the socket; nil is none.
func (s *treeSocket) close() {
	if s != nil {
		_ = s.Close()
	}
}

// next reads a message, and adds the event that it brings to t. A *wire.Error is final
// for the stream.
func (s *treeSocket) next(t *tree, limit time.Duration) (text []byte, frame treeFrame, err error) {
	if err := s.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, frame, err
	}
	_, text, err = s.ReadMessage()
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return nil, frame, t.tooLarge()
	case err != nil:
		return nil, frame, err
	case json.Unmarshal(text, &frame) != nil:
		return nil, frame, errGarbage
	}
	switch frame.Event {
	case wire.EventDevTools:
		if len(frame.Payload.Event) == 0 {
			return nil, frame, errGarbage
		}
		return text, frame, t.add(frame.Payload.Event)
	case wire.EventDevToolsError:
		return nil, frame, fmt.Errorf("it says %s", frame.Payload.Error)
	}
	return text, frame, nil
}

// ask waits for the answers to connect and streamDevTools. Events may come before the
// second.
func (s *treeSocket) ask(t *tree, runID string, after *int64) error {
	for {
		text, frame, err := s.next(t, connectLimit)
		switch {
		case err != nil:
			return err
		case frame.Type != "res":
			continue
		case !frame.OK:
			refusal, err := decodeError(frame.Error)
			if err != nil {
				return err
			}
			if frame.ID == connectID { // it is about this gateway, not about who asks for frames
				return fmt.Errorf("the upstream refuses a socket: %s", refusal.Message)
			}
			return refusal
		case frame.ID == treeID:
			return nil
		case frame.ID != connectID:
			continue
		}
		s.quiet = quietAllowed(text)
		params := map[string]any{"runId": runID}
		if after != nil {
			params["afterSeq"] = *after
		}
		if err := s.WriteJSON(map[string]any{"type": "req", "id": treeID, "method": wire.MethodStreamDevTools, "params": params}); err != nil {
			return err
		}
	}
}

// follow takes what comes until ctx ends or the socket does.
func (s *treeSocket) follow(ctx context.Context, t *tree) error {
	stop := context.AfterFunc(ctx, s.close)
	defer func() {
		stop()
		s.close()
	}()
	for {
		if _, _, err := s.next(t, s.quiet); err != nil {
			return err
		}
	}
}
