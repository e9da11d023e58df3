package gateway

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// liveGrace is how long storage may fail before the process is better restarted.
const liveGrace = time.Minute

// HealthReport is what GET /health tells beyond the protocol. It names no paths and
// no secrets: the endpoint is public.
type HealthReport struct {
	Status      string            `json:"status"` // ok, degraded, draining or down
	Degraded    []string          `json:"degraded"`
	Ready       bool              `json:"ready"`
	TokenStore  string            `json:"tokenStore"` // ok, missing or unreadable
	Tokens      int               `json:"tokens"`
	Module      HealthModule      `json:"module"`
	Storage     HealthStorage     `json:"storage"`
	Runs        HealthRuns        `json:"runs"`
	Connections HealthConnections `json:"connections"`
	VMs         HealthVMs         `json:"vms"`
	Smithers    *HealthSmithers   `json:"smithers,omitempty"` // the process of a module that needs one
	Upstreams   []HealthUpstream  `json:"upstreams,omitempty"`
	Limits      HealthLimits      `json:"limits"`
}

// HealthModule tells of the workflow module.
type HealthModule struct {
	State     string `json:"state"` // loaded, missing or none
	Hash      string `json:"hash,omitempty"`
	Workflows int    `json:"workflows"`         // compiled ones included
	Runtime   string `json:"runtime,omitempty"` // script or smithers
}

// HealthStorage tells of the database; sizes in bytes.
type HealthStorage struct {
	Healthy  bool  `json:"healthy"`
	Queue    int   `json:"queue"`
	Commits  int64 `json:"commits"`
	DBBytes  int64 `json:"dbBytes"`
	WALBytes int64 `json:"walBytes"`
}

// HealthRuns counts runs in memory.
type HealthRuns struct {
	Live     int64 `json:"live"`
	Queued   int   `json:"queued"`
	Attempts int64 `json:"attempts"`
}

// HealthConnections counts sockets and streams.
type HealthConnections struct {
	Authenticated int `json:"authenticated"`
	PreAuth       int `json:"preAuth"`
	Streams       int `json:"streams"`
}

// HealthVMs tells of the JavaScript machines.
type HealthVMs struct {
	Live        int   `json:"live"`
	Abandoned   int   `json:"abandoned"`
	MemoryBytes int64 `json:"memoryBytes"`
}

// HealthLimits are the limits in force.
type HealthLimits struct {
	MaxConnections    int   `json:"maxConnections"`
	MaxPreAuth        int   `json:"maxPreAuth"`
	MaxPreAuthPerAddr int   `json:"maxPreAuthPerAddress"`
	StreamsPerConn    int   `json:"streamsPerConnection"`
	StreamsPerUser    int   `json:"streamsPerUser"`
	EventWindow       int   `json:"eventWindow"`
	MaxStreamLag      int   `json:"maxStreamLag"`
	MaxBodyBytes      int64 `json:"maxBodyBytes"`
	MaxVMs            int   `json:"maxVMs"`
	RequestTimeoutMs  int64 `json:"requestTimeoutMs"`
	HeartbeatMs       int64 `json:"heartbeatMs"`
}

// Health describes the gateway now. It reads memory only.
func (g *Gateway) Health() HealthReport {
	run, release := g.acquire()
	if run == nil {
		return HealthReport{Status: "down", Degraded: []string{ErrNotRunning.Error()}, TokenStore: "missing"}
	}
	defer release()
	return run.health()
}

func (r *running) health() HealthReport {
	s := *r.g.settings.Load()
	w := r.workflows.Load()
	st, e, vm := r.store.Stats(), r.engine.Stats(), r.vms()
	h := HealthReport{
		Status: "ok", Degraded: r.degraded(), Ready: r.ready() == nil, TokenStore: r.tokenState(), Tokens: r.Current().Len(),
		Module:      HealthModule{State: w.state, Hash: w.hash, Workflows: w.count(), Runtime: w.runtime()},
		Storage:     HealthStorage{r.store.Healthy() == nil, st.Queue, st.Commits, st.DBBytes, st.WALBytes},
		Runs:        HealthRuns{e.Live, e.Queued, e.Attempts},
		Connections: r.connections(),
		VMs:         HealthVMs{vm.VMs, vm.Abandoned, vm.MemoryBytes},
		Smithers:    r.smithersHealth(w),
		Upstreams:   r.upstreamHealth(),
		Limits: HealthLimits{s.MaxConnections, s.MaxPreAuth, s.MaxPreAuthPerAddr, s.StreamsPerConn, s.StreamsPerUser,
			s.EventWindow, max(s.MaxStreamLag, s.EventWindow), s.MaxBody, s.MaxVMs,
			s.RequestTimeout.Milliseconds(), s.Heartbeat.Milliseconds()},
	}
	switch {
	case r.draining.Load():
		h.Status = "draining"
	case len(h.Degraded) > 0:
		h.Status = "degraded"
	}
	return h
}

func (r *running) tokenState() string {
	w := r.tokens.Load()
	switch {
	case w == nil || w.Missing():
		return "missing"
	case w.Err() != nil:
		return "unreadable"
	}
	return "ok"
}

// degraded lists what needs attention, in fixed words: the log has the details.
func (r *running) degraded() []string {
	reasons := []string{}
	if r.store.Healthy() != nil {
		reasons = append(reasons, "storage: commits fail")
	}
	if r.tokenState() == "unreadable" {
		reasons = append(reasons, "token store: unreadable, every token is denied")
	}
	if m := r.mode.Load(); m != nil && m.keys != nil && m.keys.Err() != nil {
		reasons = append(reasons, "auth: the keys of the token issuer cannot be read")
	}
	if r.g.reloadErr.Load() != nil {
		reasons = append(reasons, "settings: the last reload failed, the former settings are in force")
	}
	if s := r.smithersHealth(r.workflows.Load()); s != nil && s.State != source.Ready.String() {
		reasons = append(reasons, "workflows: the Smithers process is "+s.State)
	}
	if remote, ok := r.federation.Source().(*upstream.Remote); ok {
		switch {
		case remote.Status().State != source.Ready:
			reasons = append(reasons, "workflows: the upstream does not answer")
		case r.federation.Refused(remote):
			reasons = append(reasons, "workflows: the upstream refuses this gateway, see upstream and its token")
		}
	}
	if n := r.vms().Abandoned; n > 0 {
		reasons = append(reasons, fmt.Sprintf("workflows: %d could not be stopped and still use the processor", n))
	}
	return reasons
}

// Ready returns nil while the gateway does its work, else why not. It fails fast:
// the next request would fail, too.
func (g *Gateway) Ready() error {
	run, release := g.acquire()
	if run == nil {
		return ErrNotRunning
	}
	defer release()
	return run.ready()
}

func (r *running) ready() error {
	if r.draining.Load() {
		return errors.New("the gateway is draining")
	}
	if err := r.store.Healthy(); err != nil {
		return errors.New("the database does not take commits")
	}
	select {
	case <-r.g.doomed:
		return errors.New("too many workflow machines could not be stopped")
	default:
	}
	return nil
}

// Live returns nil unless a restart of the process would help: it fails slowly, after
// a minute of failing storage, or when workflows took too many machines with them. A
// gateway that is not running or draining is alive.
func (g *Gateway) Live() error {
	select {
	case <-g.doomed:
		return errors.New("too many workflow machines could not be stopped; restart the process")
	default:
	}
	run, release := g.acquire()
	if run == nil {
		return nil
	}
	defer release()
	return g.live.check(run.store.Healthy(), time.Now())
}

// liveness remembers since when storage fails, as far as anybody has asked.
type liveness struct {
	mu    sync.Mutex
	since time.Time
}

func (l *liveness) check(err error, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.since = time.Time{}
		return nil
	}
	if l.since.IsZero() {
		l.since = now
	}
	if d := now.Sub(l.since); d >= liveGrace {
		return fmt.Errorf("the database has not taken commits for %s", d.Round(time.Second))
	}
	return nil
}
