package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// HealthSmithers tells of the Smithers process that runs the module.
type HealthSmithers struct {
	State       string `json:"state"` // starting, ready, down or stopped
	Version     string `json:"version,omitempty"`
	Restarts    int    `json:"restarts"`
	MemoryBytes int64  `json:"memoryBytes"`
	Retiring    int    `json:"retiring"` // processes of former modules with runs at work
}

// smithersHealth is nil when no process is in force.
func (r *running) smithersHealth(w *workflows) *HealthSmithers {
	if w == nil || w.process == nil {
		return nil
	}
	s := w.process.Status()
	return &HealthSmithers{
		State: s.State.String(), Version: w.process.Version(), Restarts: s.Restarts, MemoryBytes: s.RSS, Retiring: r.processes.retiringCount(),
	}
}

// HealthUpstream tells how far this gateway is behind a Smithers that executes runs.
type HealthUpstream struct {
	Source       string `json:"source"` // host-N, a process of the module, or upstream
	State        string `json:"state"`  // starting, ready, refused (it does not let this gateway in), down or stopped
	RunsBehind   int    `json:"runsBehind"`
	EventsBehind int    `json:"eventsBehind"`
	// SecondsSinceContact is -1 when there was none.
	SecondsSinceContact float64 `json:"secondsSinceContact"`

	id string // of the source
}

func (r *running) upstreamHealth() (all []HealthUpstream) {
	for _, l := range r.federation.Lag() {
		h := HealthUpstream{Source: l.Source.ID(), State: l.Source.Status().State.String(), RunsBehind: l.Runs, EventsBehind: l.Events,
			SecondsSinceContact: -1, id: l.Source.ID()}
		if _, elsewhere := l.Source.(*upstream.Remote); elsewhere {
			h.Source = "upstream" // health is public, its address may not be
			if l.Source.Status().State == source.Ready && r.federation.Refused(l.Source) {
				h.State = "refused"
			}
		}
		if !l.Contact.IsZero() {
			h.SecondsSinceContact = max(0, time.Since(l.Contact).Seconds())
		}
		all = append(all, h)
	}
	return all
}

// runtime tells what runs the module; "" without one.
func (w *workflows) runtime() string {
	switch {
	case w.process != nil:
		return RuntimeSmithers
	case w.host != nil:
		return RuntimeScript
	}
	return ""
}

// processGauges describe every Smithers process while it is there, and whether an
// upstream elsewhere answers.
type processGauges struct {
	gateway               *Gateway
	up, restarts, memory  *prometheus.Desc
	runs, events, contact *prometheus.Desc
}

func newProcessGauges(g *Gateway) prometheus.Collector {
	describe := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("smithers_upstream_"+name, help, []string{"source"}, nil)
	}
	return &processGauges{
		gateway: g,
		up:      describe("up", "1 while the Smithers process, or the upstream elsewhere, is ready and lets this gateway in."),
		restarts: describe("restarts_total",
			"Times that the Smithers process was started again after it had ended."),
		memory:  describe("memory_bytes", "Resident memory of the Smithers process."),
		runs:    describe("runs_behind", "Runs with something in Smithers's log that is not merged yet."),
		events:  describe("events_behind", "Events that Smithers has handed over and that are not merged yet."),
		contact: describe("last_contact_seconds", "Seconds since Smithers was last heard of; -1 for never."),
	}
}

func (c *processGauges) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.up
	descs <- c.restarts
	descs <- c.memory
	descs <- c.runs
	descs <- c.events
	descs <- c.contact
}

func (c *processGauges) Collect(metrics chan<- prometheus.Metric) {
	run, release := c.gateway.acquire()
	if run == nil {
		return
	}
	defer release()
	for _, p := range run.processes.all() {
		s := p.Status()
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, truth(s.State == source.Ready), p.ID())
		metrics <- prometheus.MustNewConstMetric(c.restarts, prometheus.CounterValue, float64(s.Restarts), p.ID())
		metrics <- prometheus.MustNewConstMetric(c.memory, prometheus.GaugeValue, float64(s.RSS), p.ID())
	}
	if remote, ok := run.federation.Source().(*upstream.Remote); ok {
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, truth(remote.Status().State == source.Ready && !run.federation.Refused(remote)), remote.ID())
	}
	for _, u := range run.upstreamHealth() {
		metrics <- prometheus.MustNewConstMetric(c.runs, prometheus.GaugeValue, float64(u.RunsBehind), u.id)
		metrics <- prometheus.MustNewConstMetric(c.events, prometheus.GaugeValue, float64(u.EventsBehind), u.id)
		metrics <- prometheus.MustNewConstMetric(c.contact, prometheus.GaugeValue, u.SecondsSinceContact, u.id)
	}
}
