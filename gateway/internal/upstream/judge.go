package upstream

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// watchElsewhere tells the log of an upstream elsewhere that comes or goes; a process of a
// module has a supervisor that does.
func (f *Federation) watchElsewhere(ctx context.Context, r *Remote) {
	updates, stop := r.Watch()
	defer stop()
	name := zap.String("upstream", r.ID())
	for before := source.Starting; ; {
		var s source.Status
		select {
		case s = <-updates:
		case <-ctx.Done():
			return
		}
		switch {
		case s.State == source.Ready && before != source.Ready:
			f.logger.Info("the upstream answers", name)
		case s.State == source.Down && before != source.Down:
			f.logger.Warn("the upstream does not answer; calls about its runs are refused until it does", name, zap.Error(s.Err))
		}
		before = s.State
	}
}

// judge notes whether a source lets this gateway in, by what came of a call of the
// gateway itself, and tells the log once per change.
func (f *Federation) judge(p *peer, method string, err error) {
	name := zap.String("upstream", p.source.ID())
	switch why := notLetIn(err); {
	case why != nil:
		if p.locked.CompareAndSwap(nil, &method) {
			f.logger.Error("the upstream refuses this gateway: "+p.remedy(), name, zap.String("method", method), zap.Error(why))
		}
	case err == nil:
		if m := p.locked.Load(); m != nil && *m == method && p.locked.CompareAndSwap(m, nil) {
			f.logger.Info("the upstream lets this gateway in again", name)
		}
	}
}

// remedy says what to set when a source does not let this gateway in.
func (p *peer) remedy() string {
	if p.source.Identity().Bearer == "" {
		return "it asks for a token: set token in the block of upstream (SMITHERS_GATEWAY_UPSTREAM_TOKEN), or run it in trusted-proxy mode"
	}
	return "it does not accept the token in the block of upstream (SMITHERS_GATEWAY_UPSTREAM_TOKEN), or that lacks a scope"
}

// notLetIn is the refusal of an upstream that does not accept this gateway, if err is one.
func notLetIn(err error) *wire.Error {
	var d *down
	var refusal *wire.Error
	switch {
	case errors.As(err, &d):
		if !errors.As(d.cause, &refusal) || refusal.Code != wire.CodeUnauthorized {
			return nil
		}
	case !errors.As(err, &refusal) || refusal.Code != wire.CodeForbidden:
		return nil
	}
	return refusal
}

// Refused reports whether a source in use does not let this gateway in: its credentials
// are wrong, or allow too little.
func (f *Federation) Refused(s source.Source) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range append([]*attached{f.current}, f.former...) {
		if a != nil && a.source == s {
			return a.locked.Load() != nil
		}
	}
	return false
}
