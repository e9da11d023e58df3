package upstreamtest

import "github.com/gorilla/websocket"

type frameParams struct {
	RunID    string
	AfterSeq *int
}

// Frame appends an event to the frames of a run and sends it to their streams. What
// begins later begins with the newest snapshot.
func (f *Fake) Frame(runID string, event map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.runs[runID]
	r.Frames = append(r.Frames, event)
	for c, id := range f.watching {
		if id == runID {
			mu := f.sockets[c]
			mu.Lock()
			_ = c.WriteJSON(devtoolsEvent(runID, event)) // a socket that has gone hears nothing
			mu.Unlock()
		}
	}
}

// Watching counts the streams of frames.
func (f *Fake) Watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watching)
}

// watchFrames answers streamDevTools. mu and the lock of the socket are held.
func (f *Fake) watchFrames(c *websocket.Conn, id string, p frameParams) {
	r := f.runs[p.RunID]
	refuse := func(code string) {
		_ = c.WriteJSON(map[string]any{"type": "res", "id": id, "ok": false, "error": map[string]any{"code": code, "message": "refused"}})
	}
	switch {
	case f.faults.Mute:
		return
	case r == nil:
		refuse("RunNotFound")
		return
	case p.AfterSeq != nil && *p.AfterSeq > len(r.Frames):
		refuse("SeqOutOfRange")
		return
	}
	answer := func() {
		_ = c.WriteJSON(map[string]any{"type": "res", "id": id, "ok": true, "payload": map[string]any{"streamId": "s"}})
	}
	if f.faults.Early {
		defer answer()
	} else {
		answer()
	}
	f.watching[c] = p.RunID
	from := 0
	for i, event := range r.Frames {
		if event["kind"] == "snapshot" {
			from = i
		}
	}
	for _, event := range r.Frames[from:] {
		_ = c.WriteJSON(devtoolsEvent(p.RunID, event))
	}
}

func devtoolsEvent(runID string, event map[string]any) map[string]any {
	return map[string]any{"type": "event", "event": "devtools.event", "seq": 1, "stateVersion": 1,
		"payload": map[string]any{"streamId": "s", "runId": runID, "event": event}}
}
