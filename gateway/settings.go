package gateway

import (
	"net/http"
	"time"
)

// Defaults. Sources: the environment table of the deployment page, the v1
// contract, and, where neither speaks, measurements kept in bench/.
const (
	DefaultPort           = 7331
	DefaultDBPath         = "/data/smithers.db"
	DefaultTokenStore     = "/data/tokens.json"
	DefaultModule         = "/workspace/gateway.mjs"
	DefaultHeartbeat      = 15 * time.Second
	DefaultEventWindow    = 10_000
	DefaultHeaderTimeout  = 30 * time.Second
	DefaultRequestTimeout = 60 * time.Second
	DefaultWriteTimeout   = 10 * time.Second
	DefaultAuthDeadline   = 10 * time.Second
	DefaultMaxConnections = 20_000
	DefaultMaxPreAuth     = 1_024
	DefaultPreAuthPerAddr = 64
	DefaultStreamsPerConn = 8
	DefaultStreamsPerUser = 1_024
	DefaultMaxStreamLag   = 100_000
	DefaultMaxLagBytes    = 64 << 20
	DefaultMaxVMs         = 256
	DefaultVMMemory       = 64 << 20
	DefaultVMMemoryTotal  = 2 << 30
	DefaultVMTime         = 10 * time.Second
	DefaultMaxAbandoned   = 8
	DefaultDrainTime      = 10 * time.Second
	DefaultRingBytes      = 256 << 20
	DefaultMaxBody        = 1 << 20
	DefaultMaxEventBytes  = 256 << 10
	DefaultMaxRunEvents   = 1_000_000
	DefaultMaxQueuedRuns  = 10_000
	DefaultAuthFailures   = 60
	DefaultRuntimeStart   = time.Minute
)

// What runs the workflow module.
const (
	RuntimeAuto     = "auto"     // the Smithers runtime if the module imports it, else scripts
	RuntimeScript   = "script"   // the embedded engine
	RuntimeSmithers = "smithers" // a process with the module's own smithers-orchestrator
)

// Settings are the values that all sites of one gateway share. The zero value is
// not usable; start from DefaultSettings.
type Settings struct {
	DBPath     string // also the identity of the gateway: its real path is the pool key
	TokenStore string
	Module     string   // SMITHERS_GATEWAY_MODULE
	ModuleRoot string   // "": nearest ancestor of Module with a lockfile or package.json
	Env        []string // names of environment variables that workflows may read
	Exec       []string // programs that workflows may run
	FetchAllow []string // what fetch may reach; nil: everything

	Runtime           string        // what runs Module: RuntimeAuto (default), RuntimeScript or RuntimeSmithers
	RuntimeCommand    string        // path or name of Bun; "": beside the module, then PATH
	RuntimeMemory     int64         // resident bytes above which a Smithers process is restarted; 0: none
	RuntimeStartLimit time.Duration // for a Smithers process to become ready

	Heartbeat      time.Duration // of tick frames
	EventWindow    int           // events of a run from which a stream may start
	RequestTimeout time.Duration
	WriteTimeout   time.Duration // a reader that accepts no byte for this long is reset
	AuthDeadline   time.Duration
	DrainTime      time.Duration

	MaxConnections    int
	MaxPreAuth        int
	MaxPreAuthPerAddr int
	StreamsPerConn    int
	StreamsPerUser    int
	MaxStreamLag      int // events; the window when that is larger
	MaxStreamLagBytes int64
	RingBytes         int64 // memory for windows of all runs
	MaxBody           int64
	MaxEventBytes     int
	MaxRunEvents      int // durable events of one run
	MaxQueuedRuns     int // of one user, waiting for a slot; ten times as many in all
	MaxAuthFailures   int // of one client address a minute, before it is told to wait

	MaxVMs          int
	VMMemory        int64 // bytes a VM may use
	VMMemoryTotal   int64
	VMTime          time.Duration // computing without a pause
	MaxAbandonedVMs int
	Durability      string        // "full" (default) or "normal"
	Checkpoint      string        // "auto" (default) or "external" (Litestream)
	Adopt           bool          // the database was restored by other means: raise the numbers once
	WorkTrees       string        // "record" (default) or "off": what programs of tasks do to git work trees
	WorkspaceRoot   string        // identity.workspaceRoot; "": folder of Module
	RunRetention    time.Duration // 0: keep finished runs for ever
	AuditRetention  time.Duration // 0: keep the audit table for ever

	Upstream      string // a Smithers gateway whose workflows are offered too: http://, https:// or unix//path; "": none
	UpstreamToken string // sent to it as a bearer token; "": callers are named in trusted-proxy headers

	Auth AuthSettings // how callers are known

	// Workflows compiled into the binary, by key.
	GoWorkflows map[string]GoWorkflow
}

// Site are the values that may differ between the sites of one gateway.
type Site struct {
	Prefix          string   // path prefix the site serves the gateway under, without trailing slash
	Origins         []string // allowed values of Origin; empty: any
	MaxBody         int64    // 0: Settings.MaxBody
	PublicMetrics   bool
	PublicWorkflows bool
	Passthrough     bool // unmatched requests go to the next handler

	// PeerTrusted reports that the request came from a proxy that the server trusts;
	// nil: none is. Identity headers count only from there.
	PeerTrusted func(*http.Request) bool
	// Exiting reports that the process is about to end; nil: never known.
	Exiting func() bool
}
