package wire

import "time"

// Bounds on what a client may send. A frame or body that breaks one is answered
// with the error named beside it; the connection lives on unless said otherwise.
const (
	// MaxMessageBytes bounds one WebSocket message; a longer one closes the
	// socket with CloseTooBig.
	MaxMessageBytes = 1 << 20
	// MaxFirstMessageBytes bounds messages before connect has succeeded: enough for any
	// token and a filter, too little for strangers to fill memory with.
	MaxFirstMessageBytes = 128 << 10
	// MaxBodyBytes bounds an HTTP body (PayloadTooLarge, 413).
	MaxBodyBytes = 1 << 20
	// MaxJSONDepth counts the root as 1 and every nested object, array or scalar
	// as one more.
	MaxJSONDepth = 32
	// MaxArrayItems bounds every array of a frame.
	MaxArrayItems = 256
	// MaxStringUnits bounds every string value (not keys), in UTF-16 units.
	MaxStringUnits = 16_384
	// MaxIDUnits bounds a frame id, in UTF-16 units.
	MaxIDUnits = 128
	// MaxMethodUnits bounds a method name, in UTF-16 units.
	MaxMethodUnits = 64
	// MaxPromptPoints is where options.startedBy.prompt is cut, in code points,
	// before the other bounds are looked at.
	MaxPromptPoints = 8_192
	// MaxInputBytes bounds the input of a launch, serialized.
	MaxInputBytes = 1 << 20
	// MaxInputDepth bounds its nesting: the input is 1, scalars do not count.
	MaxInputDepth = 32
	// MaxRunIDUnits and MaxNodeIDUnits bound identifiers where their shape is checked.
	MaxRunIDUnits  = 256
	MaxNodeIDUnits = 128
	// MaxRequestIDBytes bounds the x-request-id header that is echoed as an id.
	MaxRequestIDBytes = MaxIDUnits
	// MaxTokenBytes bounds a presented token; a longer one is invalid unread.
	MaxTokenBytes = 16 << 10
)

// Bounds on what a client may ask for. Lists without a maximum of their own are
// clamped, so that no request makes the server build an unbounded answer.
const (
	DefaultListLimit      = 50
	MaxListLimit          = 1_000
	DefaultDescendants    = 1_000
	MaxNodeOutputBytes    = 100 << 20
	MaxEventPayloadBytes  = 256 << 10
	DefaultEventLogLimit  = 100
	MaxNodeEventLogLimit  = 500
	HelloRunLimit         = 1_000
	MaxApprovals          = 10_000
	StreamsPerConnection  = 8
	MaxConcurrentRequests = 32 // of one socket; further frames wait unread
)

// Times of the protocol.
const (
	StreamHeartbeat = time.Second // of run.heartbeat
	AuthDeadline    = 10 * time.Second
	TickInterval    = 15 * time.Second
)

// WebSocket close codes and the reasons that go with them.
const (
	ClosePolicy     = 1008
	CloseTooBig     = 1009
	CloseRestart    = 1012
	CloseTryAgain   = 1013
	ReasonAuth      = "authentication failed"
	ReasonLimit     = "connection limit reached"
	ReasonPressure  = "event backpressure"
	ReasonShutdown  = "gateway shutting down"
	ReasonRestarted = "gateway restarting"
)

// Bodies of refused upgrades, text/plain.
const (
	RefusalLimit  = "Gateway connection limit reached\n"
	RefusalOrigin = "Origin or host is not allowed\n"
)
