package upstream

import (
	"context"
	"encoding/json"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxForwarded bounds the calls that wait for a source at once: one that hangs takes a
// part of the calls that this gateway has at work, and not all.
const maxForwarded = 2_048

// PartLimit is how long a list waits for the source's part of it.
const PartLimit = 2 * time.Second

// enter admits a call to the source for reads that somebody waits for; see admit.
func (f *Federation) enter() (p *peer, leave func(), err error) {
	if p, err = f.peerNow(); err != nil {
		return nil, nil, err
	}
	leave, err = f.admit(p)
	return p, leave, err
}

// admit lets a call begin. It is refused at once while the source is not ready, although
// a connection to it may be left, and while too many wait already. leave must be called
// when the call has been answered.
func (f *Federation) admit(p *peer) (leave func(), err error) {
	if s := p.source.Status(); s.State != source.Ready {
		return nil, &down{answer: unavailable(s), cause: source.ErrDown, unsent: true}
	}
	select {
	case f.forwarded <- struct{}{}:
		return func() { <-f.forwarded }, nil
	default:
	}
	return nil, &down{answer: wire.Errorf(wire.CodeUnavailable, "Too many calls wait for Smithers; try again.").With("retryable", true),
		cause: source.ErrDown, unsent: true}
}

// CallPart is Call for a part of a list, which is waited for no longer than PartLimit.
func (f *Federation) CallPart(ctx context.Context, by source.Caller, method string, params json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, PartLimit)
	defer cancel()
	return f.Call(ctx, by, method, params)
}
