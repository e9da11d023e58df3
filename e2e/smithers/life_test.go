package smithers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// example is the folder whose packages the tests use.
var example = filepath.Join("..", "..", "examples", "smithers")

// siteOf is a site with the text of a module beside the example's packages; "" is the
// example itself.
func siteOf(t *testing.T, module string) *rig.Site {
	t.Helper()
	packages := installed(t)
	if module == "" {
		text, err := os.ReadFile(filepath.Join(example, "gateway.tsx"))
		require.NoError(t, err)
		module = string(text)
	}
	s := rig.NewSite(t, "")
	s.Module = s.Write("workspace/gateway.tsx", module)
	s.Write("workspace/package.json", `{"type":"module"}`)
	require.NoError(t, os.Symlink(packages, s.Path("workspace/node_modules")))
	return s
}

// start runs the gateway on a config of the site and returns a caller of it.
func start(t *testing.T, s *rig.Site, extra string) *rig.Process {
	t.Helper()
	token := s.Issue(rig.AllScopes, "alice")
	return s.Start("run", "--config", s.Write("Caddyfile", s.Caddyfile(extra, ""))).As(token).Accepts()
}

// health is what the gateway says of the process.
type health struct {
	Details struct {
		Status   string
		Degraded []string
		Smithers struct {
			State              string
			Restarts, Retiring int
			MemoryBytes        int64
		}
	}
}

func healthOf(t *testing.T, p *rig.Process) (h health) {
	t.Helper()
	_, body, err := p.Get(t.Context(), "/health")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(body, &h))
	return h
}

// children are the numbers of the living processes whose parent is pid.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // state, parent
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(pid) {
			n, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			require.NoError(t, err)
			pids = append(pids, n)
		}
	}
	return pids
}

// bun is the number of the one Smithers process.
func bun(t *testing.T, p *rig.Process) int {
	t.Helper()
	var found []int
	for _, pid := range children(t, p.Cmd.Process.Pid) {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if strings.Contains(string(line), "host.mjs") {
			found = append(found, pid)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

// requirePrivate holds that nobody else can reach the sockets of a Smithers process.
func requirePrivate(t *testing.T, pid int) {
	t.Helper()
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	require.NoError(t, err)
	args := strings.Split(string(line), "\x00")
	folder := filepath.Dir(args[slices.IndexFunc(args, func(a string) bool { return strings.HasSuffix(a, "host.mjs") })])
	info, err := os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	sockets := 0
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		if info.Mode()&os.ModeSocket != 0 {
			sockets++
			require.Equal(t, os.ModeSocket|0o600, info.Mode(), e.Name())
		}
	}
	require.Equal(t, 2, sockets, "the one of the gateway and the one of the feed")
}

func gone(pids ...int) func() bool {
	return func() bool {
		for _, pid := range pids {
			if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && !strings.Contains(string(text), ") Z ") {
				return false
			}
		}
		return true
	}
}

func decide(t *testing.T, p *rig.Process, run, node string, approved bool) {
	t.Helper()
	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{
		"runId": run, "nodeId": node, "iteration": 0, "decision": map[string]any{"approved": approved},
	}, nil))
}

func signal(t *testing.T, p *rig.Process, run, name string, payload any) {
	t.Helper()
	require.NoError(t, p.Call(t.Context(), "submitSignal", map[string]any{"runId": run, "signalName": name, "payload": payload}, nil))
}

// TestExample drives every primitive of the example, with a clean stop of the gateway
// and a kill of it on the way, and follows the run on one stream of events.
func TestExample(t *testing.T) {
	s := siteOf(t, "")
	out, code := s.CLI("module", "check", s.Module)
	require.Zero(t, code, out)
	require.Contains(t, out, "runs in Smithers 0.32.0")

	p := start(t, s, "heartbeat 1s")
	var workflows []struct{ Key string }
	require.NoError(t, p.Call(t.Context(), "listWorkflows", map[string]any{}, &workflows))
	require.ElementsMatch(t, []struct{ Key string }{{"hello"}, {"release"}}, workflows)

	p.LaunchRun("hello", "h", map[string]any{"name": "Ada"})
	p.Status("h", "finished")

	p.LaunchRun("release", "r", map[string]any{"regions": []string{"eu", "us", "asia"}})
	p.Status("r", "waiting-approval")
	pid := bun(t, p)
	requirePrivate(t, pid)
	p.Terminate()
	require.True(t, gone(pid)(), "a clean stop waits for the process")

	p = start(t, s, "heartbeat 1s")
	decide(t, p, "r", "ship-gate", true)
	p.Status("r", "waiting-event")
	family := append(children(t, p.Cmd.Process.Pid), children(t, bun(t, p))...)
	p.Kill()
	rig.Wait(t, "the process to end with a gateway that was killed", gone(family...))

	p = start(t, s, "heartbeat 1s")
	socket := p.Dial()
	zero := int64(0)
	opened, err := socket.Stream(t.Context(), "r", &zero)
	require.NoError(t, err)
	signal(t, p, "r", "go", map[string]any{"by": "alice"})

	finished := map[string]int{}
	last := int64(0)
	require.NoError(t, socket.Follow(t.Context(), opened.StreamID, func(i client.Item) bool {
		require.NotNil(t, i.Event)
		require.Equal(t, last+1, i.Event.Seq, "no number is missing, none comes twice")
		last = i.Event.Seq
		if i.Event.Event == "node.finished" {
			var payload struct{ NodeID string }
			require.NoError(t, json.Unmarshal(i.Event.Payload, &payload))
			finished[payload.NodeID]++
		}
		return i.Event.Event != "run.completed"
	}))
	p.Status("r", "finished")
	delete(finished, "go") // Smithers does not always log the end of a wait for a signal
	require.Equal(t, map[string]int{
		"plan": 1, "build": 1, "look": 3, "ship-gate": 1, "cool-off": 1, "deploy-eu": 1, "deploy-us": 1, "deploy-asia": 1, "announce": 1,
	}, finished)
}

// slow is a module whose run works long enough to be cut.
const slow = `/** @jsxImportSource smithers-orchestrator */
import { createSmithers } from "smithers-orchestrator";
import { existsSync, appendFileSync } from "node:fs";
import { z } from "zod";
const { smithers, outputs, Workflow, Task, Sequence } = createSmithers({ out: z.object({ ok: z.boolean() }) }, { dbPath: process.env.SMITHERS_DB_PATH });
const step = (name: string) => async () => {
  appendFileSync("log", name + "\n");
  while (!existsSync("go-" + name)) await new Promise((resolve) => setTimeout(resolve, 20));
  return { ok: true };
};
const slow = smithers(() => (
  <Workflow name="slow">
    <Sequence>
      <Task id="a" output={outputs.out} retries={3}>{step("a")}</Task>
      <Task id="b" output={outputs.out} retries={3}>{step("b")}</Task>
    </Sequence>
  </Workflow>
));
export default (gateway: any) => { gateway.register("slow", slow); };
`

// logged counts the lines that the steps of slow have written.
func logged(s *rig.Site, step string) func() int {
	return func() int {
		text, _ := os.ReadFile(s.Path("workspace/log"))
		return strings.Count(string(text), step+"\n")
	}
}

func TestKilledProcess(t *testing.T) {
	s := siteOf(t, slow)
	p := start(t, s, "")
	p.LaunchRun("slow", "r", nil)
	s.Write("workspace/go-a", "")
	p.Wait("the second step to begin", func() bool { return logged(s, "b")() == 1 })
	first := bun(t, p)
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	p.Wait("the process to come back", func() bool {
		h := healthOf(t, p)
		return h.Details.Smithers.Restarts == 1 && h.Details.Smithers.State == "ready"
	})
	require.NotEqual(t, first, bun(t, p))
	p.Wait("the cut step to be tried again", func() bool { return logged(s, "b")() == 2 })
	s.Write("workspace/go-b", "")
	p.Status("r", "finished")
	require.Equal(t, 1, logged(s, "a")(), "no finished step runs again")
}

func TestReload(t *testing.T) {
	s := siteOf(t, slow)
	p := start(t, s, "")
	p.HTTP = rig.Steady()
	p.LaunchRun("slow", "r", nil)
	p.Wait("the first step to begin", func() bool { return logged(s, "a")() == 1 })
	first := bun(t, p)

	require.NoError(t, p.Load(s.Caddyfile("request_timeout 50s", "")))
	require.Equal(t, first, bun(t, p), "an unchanged module keeps its process")

	s.Write("workspace/gateway.tsx", strings.Replace(slow, `register("slow"`, `register("more", slow); gateway.register("slow"`, 1))
	require.NoError(t, p.Load(s.Caddyfile("request_timeout 51s", ""))) // a config that is the same is not looked at
	p.Wait("the former process to retire", func() bool { return healthOf(t, p).Details.Smithers.Retiring == 1 })
	p.LaunchRun("more", "m", nil)
	s.Write("workspace/go-a", "")
	s.Write("workspace/go-b", "")
	p.Status("r", "finished")
	p.Status("m", "finished")
	rig.Wait(t, "the former process to end with its last run", gone(first))
	require.Equal(t, 0, healthOf(t, p).Details.Smithers.Restarts)

	s.Write("workspace/gateway.tsx", slow+"\nthrow new RangeError('not today');\n")
	err := p.Load(s.Caddyfile("", ""))
	require.ErrorContains(t, err, "gateway.tsx:")
	require.ErrorContains(t, err, "RangeError: not today")
	p.LaunchRun("more", "m2", nil)
	p.Status("m2", "finished")
}

func TestCrashLoop(t *testing.T) {
	s := siteOf(t, slow+"\nsetInterval(() => { if (existsSync('crash')) throw new Error('out of luck') }, 20);\n")
	p := start(t, s, "")
	s.Write("workspace/crash", "")
	p.Wait("three restarts", func() bool { return healthOf(t, p).Details.Smithers.Restarts >= 3 })
	require.Equal(t, 200, p.Probe("/health/ready"), "the gateway itself works")
	p.Wait("the error in the log", func() bool { return strings.Contains(p.Log.String(), "error: out of luck") })
	require.Contains(t, p.Log.String(), "the Smithers process ended; it is started again")
	p.Terminate()
}

func TestStartFails(t *testing.T) {
	elsewhere := func(t *testing.T) *rig.Site { // a module without packages
		s := rig.NewSite(t, "")
		s.Module = s.Write("workspace/gateway.tsx", slow)
		s.Env = append(s.Env, "PATH="+s.Path("nowhere"))
		return s
	}
	var runtime string
	if found, _ := filepath.Glob(filepath.Join(example, "node_modules", "@oven", "bun-*", "bin", "bun")); len(found) > 0 {
		var err error
		runtime, err = filepath.Abs(found[0])
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		site func(t *testing.T) *rig.Site
		want []string
	}{
		"no bun": {elsewhere, []string{"the Bun runtime", "not found", "node_modules/.bin/bun", "npm install bun", "runtime_command"}},
		"no package": {func(t *testing.T) *rig.Site {
			rig.Need(t, runtime != "", "the packages of examples/smithers: npm ci --prefix examples/smithers")
			s := elsewhere(t)
			s.Env = append(s.Env, "SMITHERS_GATEWAY_RUNTIME_COMMAND="+runtime)
			return s
		}, []string{"smithers-orchestrator is not installed", "npm install smithers-orchestrator"}},
		"throws": {func(t *testing.T) *rig.Site {
			return siteOf(t, "import 'smithers-orchestrator';\nexport function register() {\n  throw new TypeError('boom');\n}\n")
		}, []string{"gateway.tsx:3:", "TypeError: boom"}},
		"syntax": {func(t *testing.T) *rig.Site {
			return siteOf(t, "import 'smithers-orchestrator';\nconst x = ;\n")
		}, []string{"gateway.tsx:2:11: Unexpected "}},
		"too late": {func(t *testing.T) *rig.Site {
			s := siteOf(t, "import 'smithers-orchestrator';\nexport default () => new Promise(() => setInterval(() => {}, 1000));\n")
			s.Env = append(s.Env, "LIMIT=3s")
			return s
		}, []string{"raise runtime_start_limit"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.site(t)
			extra := ""
			if name == "too late" {
				extra = "runtime_start_limit 3s"
			}
			p := s.Launch("run", "--config", s.Write("Caddyfile", s.Caddyfile(extra, "")))
			require.NotZero(t, p.Exits())
			for _, want := range c.want {
				require.Contains(t, p.Log.String(), want)
			}
		})
	}
}
