package host

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// Errors of Start. What cannot be used is named with the way to fix it.
var (
	// ErrUnsupported: this operating system has no host processes.
	ErrUnsupported = errors.New("modules that import smithers-orchestrator need Linux or macOS")
	// ErrNoRuntime: Bun was not found.
	ErrNoRuntime = errors.New("the Bun runtime, which modules that import smithers-orchestrator need, was not found")
	// ErrNoPackage: smithers-orchestrator is not installed where the module is.
	ErrNoPackage = errors.New("smithers-orchestrator is not installed")
	// ErrModule: the module or its register function threw.
	ErrModule = errors.New("the module cannot be used")
	// ErrStartLimit: the process was not ready in time.
	ErrStartLimit = errors.New("the Smithers process was not ready in time")
)

// Defaults of Options.
const (
	DefaultStartLimit  = time.Minute
	DefaultStopGrace   = 10 * time.Second
	DefaultProbeEvery  = 5 * time.Second
	DefaultProbeLimit  = 30 * time.Second
	DefaultHeartbeat   = 15 * time.Second
	DefaultEventWindow = 10_000
	DefaultMaxBody     = 1 << 20
)

// Options say what to run and how. Module and DBPath are required.
type Options struct {
	ID      string // of the source; "": host
	Module  string // the user's module
	Root    string // working folder of the process; "": the folder of Module
	DBPath  string // SMITHERS_DB_PATH of the process
	Command string // path or name of Bun; "": node_modules/.bin beside the module, then PATH
	Env     []string
	Logger  *zap.Logger

	Workspace   string        // told to the Gateway as its workspace; "": Root
	Heartbeat   time.Duration // of tick frames
	EventWindow int
	MaxBody     int64

	MemoryLimit int64         // resident bytes above which the process is restarted; 0: none
	StartLimit  time.Duration // for a process to become ready
	StopGrace   time.Duration // between the request to end and the kill
	ProbeEvery  time.Duration // between two looks at health and memory
	ProbeLimit  time.Duration // a process that has not answered for so long is restarted

	Dead []int // processes that are known to have ended and whose runs are to go on
	// Retired is called once, on a goroutine of the Host, when after Retire the process
	// has nothing left to do. May be nil.
	Retired func()
}

func (o Options) withDefaults() (Options, error) {
	if o.Module == "" || o.DBPath == "" {
		return o, errors.New("host: Module and DBPath are required")
	}
	for _, path := range []*string{&o.Module, &o.DBPath, &o.Root, &o.Workspace} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return o, fmt.Errorf("host: %w", err)
		}
		*path = abs
	}
	orDefault(&o.Root, filepath.Dir(o.Module))
	orDefault(&o.Workspace, o.Root)
	orDefault(&o.ID, "host")
	orDefault(&o.Heartbeat, DefaultHeartbeat)
	orDefault(&o.EventWindow, DefaultEventWindow)
	orDefault(&o.MaxBody, DefaultMaxBody)
	orDefault(&o.StartLimit, DefaultStartLimit)
	orDefault(&o.StopGrace, DefaultStopGrace)
	orDefault(&o.ProbeEvery, DefaultProbeEvery)
	orDefault(&o.ProbeLimit, DefaultProbeLimit)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o, nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
