// Package driver has the workflows compiled into the gateway that `make bench` measures.
// "emit" logs lines as fast as the gateway takes them, or at a pace, so that what
// is measured is the gateway and not an engine for scripts.
package driver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func init() { caddy.RegisterModule(new(Emit)) }

// Emit waits for signals "go" and emits one burst for each.
type Emit struct{}

// CaddyModule names the workflow.
func (*Emit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "smithers.workflows.emit", New: func() caddy.Module { return new(Emit) }}
}

// UnmarshalCaddyfile takes no settings.
func (*Emit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// burst is the payload of a signal. A burst without lines ends the run.
type burst struct {
	Lines     int `json:"lines"`
	Text      int `json:"text"`      // bytes of each line, at least 22
	PerSecond int `json:"perSecond"` // 0: as fast as it goes
}

// Run emits bursts until one without lines comes.
func (*Emit) Run(ctx workflow.Context) (any, error) {
	for i := 0; ; i++ {
		var b burst
		if err := ctx.Signal("go", &b, workflow.SignalID(fmt.Sprintf("go-%d", i))); err != nil {
			return nil, err
		}
		if b.Lines == 0 {
			return map[string]int{"bursts": i}, nil
		}
		err := ctx.Task(fmt.Sprintf("emit-%d", i), func(t workflow.Task) (any, error) { return nil, b.emit(t) }, nil)
		if err != nil {
			return nil, err
		}
	}
}

// emit logs the lines. Each begins with the time in nanoseconds at which it was queued.
func (b burst) emit(t workflow.Task) error {
	pad := strings.Repeat("x", max(0, b.Text-22))
	begin := time.Now()
	for i := range b.Lines {
		if b.PerSecond > 0 {
			if pause := time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(b.PerSecond))); pause > 0 {
				time.Sleep(pause)
			}
		}
		if t.Err() != nil {
			return t.Err()
		}
		t.Log("@ " + strconv.FormatInt(time.Now().UnixNano(), 10) + " " + pad)
	}
	return nil
}

// Interface guards.
var (
	_ workflow.Workflow     = (*Emit)(nil)
	_ caddyfile.Unmarshaler = (*Emit)(nil)
)
