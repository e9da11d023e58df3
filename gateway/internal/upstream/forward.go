package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Owns reports whether the upstream executes a run. One that is not known yet is taken
// over if the upstream has it. An error that is a retryable *wire.Error: it cannot be
// told now.
func (f *Federation) Owns(ctx context.Context, runID string) (bool, error) {
	var run *store.Run
	err := f.store.View(ctx, func(v *store.View) (err error) {
		run, err = v.Run(runID)
		return err
	})
	switch {
	case err == nil:
		return run.Upstream, nil
	case !errors.Is(err, store.ErrNotFound) || runID == "" || len(runID) > maxID:
		return false, ignoreNotFound(err)
	}
	if !f.Attached() {
		return false, nil // nobody has the run
	}
	p, leave, err := f.enter()
	if err != nil {
		return false, err
	}
	defer leave()
	adopted, err := f.adopt(ctx, p, runID)
	if adopted {
		f.Wake(runID)
	}
	return adopted, err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Call forwards a method that is about no single run. What the upstream answers is
// returned as it is, without the stacks and paths of its failures; an error of it is a
// *wire.Error.
func (f *Federation) Call(ctx context.Context, by source.Caller, method string, params json.RawMessage) (json.RawMessage, error) {
	p, leave, err := f.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return answered(p.call(ctx, by, method, params))
}

// CallRun forwards a method about a run. With live it goes to the process that
// executes the run, while two are there, and what it has done is looked at afterwards.
func (f *Federation) CallRun(ctx context.Context, by source.Caller, runID, method string, params json.RawMessage, live bool) (json.RawMessage, error) {
	p, leave, err := f.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if live && f.retiring() {
		row, err := f.owner(ctx, p, runID)
		if err != nil {
			return nil, err
		}
		if p, err = f.executing(row); err != nil {
			return nil, err
		}
	}
	if live {
		defer f.Wake(runID)
	}
	return answered(p.call(ctx, by, method, params))
}

// owner reads which process executes a run; "" when none does.
func (f *Federation) owner(ctx context.Context, p *peer, runID string) (string, error) {
	data, err := p.call(ctx, source.System, wire.MethodGetRun, mustJSON(map[string]any{"runId": runID}))
	if err != nil {
		return "", notYet(err)
	}
	var row struct {
		Owner *string `json:"runtimeOwnerId"`
	}
	if json.Unmarshal(data, &row) != nil || row.Owner == nil {
		return "", nil
	}
	return *row.Owner, nil
}

// Snapshot is the state of a run for a gap, as the upstream tells it before long.
func (f *Federation) Snapshot(ctx context.Context, runID string) (json.RawMessage, error) {
	data, err := f.CallPart(ctx, source.System, wire.MethodGetRun, mustJSON(map[string]any{"runId": runID}))
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil, errGarbage
	}
	delete(members, "system")
	delete(members, "startedBy")
	return json.Marshal(members)
}

// Delivered is the upstream's answer to a webhook.
type Delivered struct {
	Status int
	Body   []byte
}

// Webhook forwards a delivery, once, with its body and headers as they came: the
// upstream checks the signature. Credentials of this gateway's clients stay here.
func (f *Federation) Webhook(ctx context.Context, key string, header http.Header, body []byte) (*Delivered, error) {
	p, leave, err := f.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if body == nil {
		body = []byte{}
	}
	answer, err := p.do(ctx, source.Caller{}, http.MethodPost, "/webhooks/"+url.PathEscape(key), body, p.deliverable(header), readUpTo(maxAnswer))
	if err != nil {
		return nil, err
	}
	if !json.Valid(answer.body) {
		return nil, p.garbage(answer, errGarbage)
	}
	return &Delivered{Status: answer.status, Body: answer.body}, nil
}

// deliverable are the headers of a delivery that an upstream may need to check it.
func (p *peer) deliverable(header http.Header) http.Header {
	id := p.source.Identity()
	out := http.Header{}
	for name, values := range header {
		switch name {
		case "Authorization", "Cookie", "Host", "Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
			"Transfer-Encoding", "Upgrade", "Content-Length", "Accept-Encoding", "Expect":
			continue
		}
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-smithers-") && strings.Contains(lower, "key") || lower == "x-smithers-token-id" {
			continue
		}
		if same(name, id.UserHeader) || same(name, id.ScopesHeader) || same(name, id.RoleHeader) {
			continue
		}
		out[name] = values
	}
	return out
}

func same(a, b string) bool { return b != "" && strings.EqualFold(a, b) }

// answered scrubs what a call has come to.
func answered(payload json.RawMessage, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return scrubErrors(payload), nil
}

// scrubErrors drops stacks and paths from every errorJson of an answer (Q33).
func scrubErrors(payload json.RawMessage) json.RawMessage {
	if !bytes.Contains(payload, []byte(`"errorJson":"`)) {
		return payload
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return payload
	}
	return mustJSON(scrubRows(v, 0))
}

func scrubRows(v any, depth int) any {
	if depth > maxScrubDepth {
		return v
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = scrubRows(v[i], depth+1)
		}
	case map[string]any:
		for k, e := range v {
			if s, ok := e.(string); ok && k == "errorJson" {
				if json.Valid([]byte(s)) {
					v[k] = string(withoutStack(json.RawMessage(s)))
				}
			} else {
				v[k] = scrubRows(e, depth+1)
			}
		}
	}
	return v
}
