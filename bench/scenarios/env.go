// Package scenarios measures the rows of the table in RESULTS.md, one file a scenario.
package scenarios

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// Env is what scenarios work with.
type Env struct {
	Folder string // of the benchmark's module
	Binary string // of the gateway
	Tools  string // folder of the small peers
	Rounds int
	Size   Size
	Say    func(format string, args ...any) // progress
	*report.Result

	original *peers.Smithers
}

// Size is how much a scenario does.
type Size int

// Sizes.
const (
	Full  Size = iota // what RESULTS.md reports
	Quick             // for development: all scenarios in about two minutes
	Tiny              // for CI: that it works at all
)

// Pick returns the value for the size.
func (e *Env) Pick(full, quick, tiny int) int { return []int{full, quick, tiny}[e.Size] }

// Scenario measures one thing.
type Scenario struct {
	Name, Title string
	run         func(context.Context, *Env) error
	goals       func(*Env) // states them once run has ended, well or not; nil: there are none
}

// All scenarios in the order in which they run.
func All() []Scenario {
	return []Scenario{
		{"fanout", "Events of one run to many sockets", fanout, fanoutGoals},
		{"latency", "From queueing an event to its arrival, 64 sockets, 1,000 events a second", latency, latencyGoals},
		{"launch", "Runs of one task, from launchRun to run.completed", launch, launchGoals},
		{"inflight", "5,000 runs in flight, each in a task that waits for a timer; then 100,000 finished runs", inflight, inflightGoals},
		{"replay", "Replay of a window of 10,000 events", replay, replayGoals},
		{"wake", "Wake of a parked run whose module has 300 KB", wake, wakeGoals},
		{"rpc", "HTTP RPC against Caddy's own respond", rpc, rpcGoals},
		{"connects", "1,000 connects in a burst with 5,000 live runs", connects, connectsGoals},
		{"sockets", "Memory of idle sockets", sockets, socketsGoals},
		{"parked", "Memory of 100,000 parked runs", parked, parkedGoals},
		{"start", "Start with a database of 1 GiB", startup, startupGoals},
		{"slow", "One slow reader among 1,000", slow, slowGoals},
	}
}

// Run runs a scenario. Its error becomes part of the result, which states all goals in
// any case.
func (s Scenario) Run(ctx context.Context, e *Env) *report.Result {
	r := &report.Result{Scenario: s.Name, Title: s.Title, At: time.Now(), Rounds: e.Rounds}
	e.Result = r
	ctx, cancel := context.WithTimeoutCause(ctx, 8*time.Minute, errors.New("the scenario took longer than 8 minutes"))
	defer cancel()
	err := s.run(ctx, e)
	e.stopOriginal()
	if err != nil {
		r.Error = err.Error()
		if ctx.Err() != nil {
			r.Error = fmt.Sprintf("%v (%v)", context.Cause(ctx), err)
		}
	}
	if s.goals != nil {
		s.goals(e)
	}
	r.Took = time.Since(r.At)
	return r
}

// Gateway starts the gateway under test. Settings are lines of the smithers block.
func (e *Env) Gateway(ctx context.Context, o peers.GatewayOptions) (*peers.Gateway, error) {
	return peers.StartGateway(ctx, e.Binary, o)
}

// Original starts the original gateway, or returns the one that runs. It ends with the
// scenario. nil without an error: it is not installed, which the result tells.
func (e *Env) Original(ctx context.Context) (*peers.Smithers, error) {
	if e.original != nil {
		return e.original, nil
	}
	s, err := peers.StartSmithers(ctx, filepath.Join(e.Folder, "peers", "smithers"))
	if errors.Is(err, peers.ErrMissing) {
		e.Note("The original gateway is not installed, so it was not measured.")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e.original = s
	return s, nil
}

func (e *Env) stopOriginal() {
	if e.original != nil {
		e.original.Stop()
		e.original = nil
	}
}

// CPU measures the processor time of a process over f, in seconds.
func cpuOver(p *peers.Process, f func() error) (float64, error) {
	before, err := p.CPU()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := p.CPU()
	return (after - before).Seconds(), err
}

// ownCPU is the processor time of this process until now, in seconds.
func ownCPU() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
