package jsmod

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// Module is a loaded bundle: its workflows, and its bytecode to make VMs from. Safe
// for concurrent use.
type Module struct {
	Bundle
	Workflows []Workflow // by key
	Warnings  []string

	host      *Host
	code      []byte
	seed      [2]int32
	positions *positions
	pool      *pool
}

// Workflow is what one gateway.register call said.
type Workflow struct {
	Key             string   `json:"key"`
	ReadableName    string   `json:"readableName,omitempty"`
	Description     string   `json:"description,omitempty"`
	Schedule        string   `json:"schedule,omitempty"` // as written; whether it is a valid cron pattern is the caller's question
	TimeZone        string   `json:"timeZone,omitempty"` // of the schedule, likewise
	System          bool     `json:"system,omitempty"`
	Webhook         *Webhook `json:"webhook,omitempty"`
	program.Program `json:"-"`
}

// Webhook is the webhook option of a workflow. An empty Secret means that every
// delivery is to be refused.
type Webhook struct {
	Secret          string         `json:"secret"`
	SignatureHeader string         `json:"signatureHeader,omitempty"` // "": x-hub-signature-256
	SignaturePrefix *string        `json:"signaturePrefix,omitempty"` // nil: sha256=
	DeliveryHeader  string         `json:"deliveryHeader,omitempty"`  // "": x-github-delivery
	Signal          *WebhookSignal `json:"signal,omitempty"`
	Run             *WebhookRun    `json:"run,omitempty"`
}

// WebhookSignal says which signal a delivery becomes.
type WebhookSignal struct {
	Name              string `json:"name"`
	CorrelationIDPath string `json:"correlationIdPath,omitempty"`
	RunIDPath         string `json:"runIdPath,omitempty"`
	PayloadPath       string `json:"payloadPath,omitempty"`
}

// WebhookRun says whether and with what input a delivery starts a run.
type WebhookRun struct {
	Enabled   *bool  `json:"enabled,omitempty"` // nil: true
	InputPath string `json:"inputPath,omitempty"`
}

// RegisterError says that a module threw while it was loaded or registered. Place
// is "file:line:column" in the user's files, "" when unknown.
type RegisterError struct {
	Path  string
	Place string
	Cause *program.Failure
}

func (e *RegisterError) Error() string {
	name := e.Cause.Name
	if name == "" {
		name = "Error"
	}
	if e.Place == "" {
		return fmt.Sprintf("module %s: %s: %s", e.Path, name, e.Cause.Message)
	}
	return fmt.Sprintf("module %s: %s: %s: %s", e.Path, e.Place, name, e.Cause.Message)
}

func (e *RegisterError) Unwrap() error { return e.Cause }

// ErrNeverRegistered says that an async register function waits for something that
// cannot happen while a module loads.
var ErrNeverRegistered = errors.New("register() never finished: it awaits something that does not happen while a module is loaded (timers, fetch and nodes belong inside a workflow)")

// Load compiles a bundle, runs its register function in a VM that no run will use and
// collects the workflows. A module that throws gives a *RegisterError.
func (h *Host) Load(ctx context.Context, b Bundle) (*Module, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &Module{Bundle: b, host: h, positions: newPositions(b.SourceMap), seed: hashSeed(b.Hash)}
	code, err := h.compile(ownAsync(string(b.Source)))
	if err != nil {
		return nil, m.loadError(h.failure(err, m.positions))
	}
	m.code = code
	vm, err := h.newVM()
	if err != nil {
		return nil, err
	}
	strip := h.lacksSpare() && vm.save() == nil
	r, err := m.boot(vm)
	if err != nil {
		return nil, err
	}
	if !strip || !vm.strip() || !h.keepSpare(vm) {
		vm.close()
	}
	m.Workflows, m.Warnings = r.workflows, r.warnings
	sort.Slice(m.Workflows, func(i, j int) bool { return m.Workflows[i].Key < m.Workflows[j].Key })
	for i := range m.Workflows {
		m.Workflows[i].Program = &scriptProgram{module: m, key: m.Workflows[i].Key}
	}
	if len(m.Workflows) == 0 {
		m.Warnings = append(m.Warnings, "the module registers no workflows")
	}
	for _, w := range m.Warnings {
		h.logger.Warn("workflow module", zap.String("module", b.Path), zap.String("warning", w))
	}
	m.pool = newPool(m)
	if err := h.adopt(m); err != nil {
		return nil, err
	}
	return m, nil
}

// Close frees the VMs kept ready for new runs. Runs that are under way go on, and
// new ones may still start, a little slower.
func (m *Module) Close() {
	m.host.release(m)
	m.pool.close()
}

// boot loads and registers the module in a VM that has the prelude only. It closes the VM
// if that fails.
func (m *Module) boot(vm *VM) (*registrar, error) {
	r := &registrar{module: m}
	vm.handler = r
	if err := vm.evaluate(m.code, m.seed); err != nil {
		vm.close()
		return nil, m.loadError(m.failure(err))
	}
	vm.handler = nil
	var err error
	switch {
	case r.failed != nil:
		err = m.loadError(r.failed)
	case !r.done:
		err = &BuildError{Path: m.Path, Err: ErrNeverRegistered}
	default:
		return r, nil
	}
	vm.close()
	return nil, err
}

// fresh makes a VM with the module loaded.
func (m *Module) fresh() (*VM, error) {
	vm, err := m.host.newVM()
	if err == nil {
		_, err = m.boot(vm)
	}
	if err != nil {
		return nil, err
	}
	return vm, nil
}

func (m *Module) loadError(f *program.Failure) error {
	e := &RegisterError{Path: m.Path, Cause: f}
	first, _, _ := strings.Cut(f.Stack, "\n")
	if i := strings.LastIndex(first, "("); i >= 0 && strings.HasSuffix(first, ")") {
		e.Place = first[i+1 : len(first)-1]
	} else if at, ok := strings.CutPrefix(strings.TrimSpace(first), "at "); ok && strings.Contains(at, ":") {
		e.Place = at
	}
	return e
}

// vm returns a VM with the module loaded, from the pool when it has one.
func (m *Module) vm(ctx context.Context) (*VM, error) {
	vm, alone := m.pool.take()
	if vm != nil {
		return vm, nil
	}
	if err := m.host.memory.admit(ctx, m.host.dropReady); err != nil {
		return nil, err
	}
	var err error
	if vm = m.host.takeSpare(); vm != nil {
		_, err = m.boot(vm)
	} else {
		vm, err = m.fresh()
	}
	if err != nil {
		return nil, err
	}
	if !alone { // the copy would keep a lone run waiting; others are made soon
		m.pool.adopt(vm)
	}
	return vm, nil
}

func hashSeed(hash string) [2]int32 {
	b := []byte(hash + "00000000")
	return [2]int32{int32(binary.LittleEndian.Uint32(b)), int32(binary.LittleEndian.Uint32(b[4:]))}
}

// registrar serves a VM while its module is loaded.
type registrar struct {
	module    *Module
	workflows []Workflow
	warnings  []string
	done      bool
	failed    *program.Failure
}

func (r *registrar) hostCall(op string, args []any) (any, error) {
	switch op {
	case "define":
		var w Workflow
		if err := json.Unmarshal(argJSON(args, 0), &w); err != nil {
			return nil, fmt.Errorf("gateway.register: %w", err)
		}
		r.workflows = append(r.workflows, w)
	case "registered":
		r.done = true
	case "registerFailed":
		r.failed = r.module.decodeFailure(argText(args, 0))
	case "log":
		r.module.host.logger.Info("workflow module", zap.String("module", r.module.Path), zap.String("text", argText(args, 1)))
	case "uncaught", "unhandled":
		f := r.module.decodeFailure(argText(args, 0))
		r.warnings = append(r.warnings, "unhandled error while loading: "+f.Name+": "+f.Message)
	default:
		return nil, fmt.Errorf("%s is not available while a module is loaded", op)
	}
	return nil, nil
}
