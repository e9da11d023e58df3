package host

// child is a process of the host, as the supervisor sees it.
type child interface {
	PID() int
	Reports() <-chan report // closed before Ended is; must be read until then
	Ended() <-chan struct{} // closed when the process and its group are gone
	Err() error             // why it ended; valid after Ended
	Command(command) error
	Terminate()    // asks it to end
	Kill()         // ends it
	Memory() int64 // resident bytes; 0: unknown
}

// launchSpec is what spawn needs.
type launchSpec struct {
	runtime, script, dir string
	env                  []string
	config               config
}

// config is the first line that the script reads.
type config struct {
	Module      string   `json:"module"`
	Socket      string   `json:"socket"`
	Feed        feed     `json:"feed"`
	Headers     []string `json:"headers"` // user, scopes, role
	Workspace   string   `json:"workspace"`
	HeartbeatMs int64    `json:"heartbeatMs"`
	EventWindow int      `json:"eventWindow"`
	MaxBody     int64    `json:"maxBody"`
	Check       bool     `json:"check,omitempty"`
	Dead        []int    `json:"dead"`
}

// feed says where the script hands rows over, and to whom: who says the secret.
type feed struct {
	Path   string `json:"path"`
	Secret string `json:"secret"`
}

// command is a later line.
type command struct {
	Command string `json:"command"`
	PIDs    []int  `json:"pids,omitempty"`
}

var (
	commandRetire = command{Command: "retire"}
	commandDead   = func(pids []int) command { return command{Command: "dead", PIDs: pids} }
)
