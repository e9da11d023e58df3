package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// timers finds what happens because time passes.
var timers = regexp.MustCompile(`time\.(NewTimer|NewTicker|After|AfterFunc|Tick|Sleep)\(|[^t]\.AfterFunc\(|\.Set(Read|Write)?Deadline\(|context\.With(Timeout|Deadline)(Cause)?\(`)

// fakeTime finds tests that do not wait for the real time: synctest, or a clock that
// the test moves.
var fakeTime = regexp.MustCompile(`synctest\.Test\(|AfterFunc\(d time\.Duration`)

// timed says of every file with timers which tests in fake time show what they promise,
// or, after "not: ", why there is none. A test may be in the file's package or below.
var timed = map[string]string{
	"caddymodule/cmd_api.go":        "TestCallsOfCommandsAreBounded",
	"caddymodule/cmd_audit.go":      "TestFollowingAsksEverySecond",
	"caddymodule/cmd_runs_watch.go": "TestWatchBacksOff",
	"caddymodule/pool.go":           "not: bounds the closing of a whole gateway, see gateway/lifecycle.go",

	"gateway/federation.go": "not: waits for a source, whose probes TestProbesBackOff of upstream shows; TestUpstreamThatIsAway of the gateway starts without one",

	"gateway/gateway.go":   "not: two minutes for a module to build, which are those of the processor; the context's end is an error like others",
	"gateway/giveback.go":  "TestMemoryIsGivenBackAfterABurst",
	"gateway/growth.go":    "TestGrowthIsMeasuredEveryMinute",
	"gateway/http.go":      "TestBodyThatNobodyReads",
	"gateway/lifecycle.go": "not: a whole gateway watches its token store in a system call, so that fake time stands still; e2e/reload TestTermEndsInTime has real ones",
	"gateway/limit.go":     "TestRequestsEndWithTheirTimeOrTheGateway TestEndOfARequest",
	"gateway/reply.go":     "TestLargeAnswerThatNobodyTakes",
	"gateway/retention.go": "TestRetentionComesEveryMinute",
	"gateway/rpchttp.go":   "TestBodyThatDoesNotArrive TestRefusedBodyIsReadOnForAMoment",
	"gateway/running.go":   "TestParkingIsBounded",

	"gateway/internal/auth/keyset.go":        "TestKeysAreReadAgain TestIssuerThatIsAway TestFirstTokenWaitsForTheKeys",
	"gateway/internal/auth/store.go":         "TestLockIsWaitedForAWhile",
	"gateway/internal/auth/store_windows.go": "not: waits for other programs to close a file, on Windows",
	"gateway/internal/auth/watcher.go":       "TestStoreIsLookedAtWithoutEvents TestEventsAreDebouncedButNotPutOff TestHalfWrittenStoreIsNotBelievedAtOnce",

	"gateway/internal/changes/broker.go": "TestStream",
	"gateway/internal/changes/serve.go":  "TestStream TestWritingIsBounded",
	"gateway/internal/cron/scheduler.go": "TestFiresExactlyAndAnnounces TestClockSetForwardFiresSoonAndOnce TestClockSetBackIsFollowed",

	"gateway/internal/engine/clock.go":     "TestNoRetryIsLostBesidePauses",
	"gateway/internal/engine/engine.go":    "TestWorkingRunShowsThatItLives",
	"gateway/internal/engine/halt.go":      "TestRewindRefusesALiveTask",
	"gateway/internal/engine/load.go":      "TestLoadingBacksOff",
	"gateway/internal/engine/outbox.go":    "TestUnitsBackOffDuringAnOutage",
	"gateway/internal/engine/retrytask.go": "TestRetryWaitsForTheEnd",
	"gateway/internal/engine/run.go":       "TestWaitingRunLeavesMemoryAfterAMoment",
	"gateway/internal/engine/waker.go":     "TestFarTimersLiveOnDisk TestTimerStoredWhileAPageIsRead TestAttemptEndsWithItsTime TestNoRetryIsLostBesidePauses",

	"gateway/internal/jsmod/exec.go":       "not: the time of another program, which the system ends",
	"gateway/internal/jsmod/operations.go": "TestTimersOfTaskBodies",
	"gateway/internal/jsmod/pool.go":       "TestPoolIsDroppedWhenIdle",
	"gateway/internal/jsmod/worker.go":     "TestSliceIsInterruptedAtItsLimit TestSliceIsAbandonedAfterTheGrace TestSliceIsNotChargedForWaiting TestLateSliceGivesItsPlaceAway",

	"gateway/internal/rpc/hello.go":  "TestHelloIsSharedAndFresh TestHelloBuildIsBounded",
	"gateway/internal/sse/serve.go":  "TestOpeningIsBounded",
	"gateway/internal/sse/sink.go":   "TestWritingIsBounded",
	"gateway/internal/sse/stream.go": "TestHeartbeatsExpiryAndExit",

	"gateway/internal/store/checkpoint.go": "TestIdleLogIsCut TestCheckpointsKeepTheirDistance",
	"gateway/internal/store/committer.go":  "TestProbesBackOff",

	"gateway/internal/upstream/accept.go":                 "TestAnswerIsWaitedFor",
	"gateway/internal/upstream/await.go":                  "TestSeenIsBounded",
	"gateway/internal/upstream/enter.go":                  "TestHungSourceIsNotWaitedFor",
	"gateway/internal/upstream/devtools.go":               "TestFramesAreOpenedAgain",
	"gateway/internal/upstream/feed.go":                   "TestFeedIsLookedAfter",
	"gateway/internal/upstream/reader.go":                 "TestReadIsBounded TestQuietEventsFollowSoon",
	"gateway/internal/upstream/settle.go":                 "TestEndThatWasNeverLogged",
	"gateway/internal/upstream/sweep.go":                  "TestSweepFindsWhatNobodyTells TestRelaunchIsBounded",
	"gateway/internal/upstream/target.go":                 "TestProbesBackOff",
	"gateway/internal/upstream/treesocket.go":             "TestFramesWithSeldomTicksAreKept",
	"gateway/internal/upstream/watch.go":                  "TestSocketIsTriedAgain TestSilentSocketIsGivenUp TestSocketWithSeldomTicksIsKept",
	"gateway/internal/upstream/workflows.go":              "TestHungSourceIsNotWaitedFor TestUseIsBounded",
	"gateway/internal/upstream/upstreamtest/fake.go":      "not: a tool of tests, whose delays are those of the test's clock",
	"gateway/internal/upstream/host/attend.go":            "TestSilentProcessIsRestarted TestRudeProcessIsKilledAfterTheGrace",
	"gateway/internal/upstream/host/hosttest/hosttest.go": "not: a tool of tests, which plays another program",
	"gateway/internal/upstream/host/output.go":            "TestAnEntryDoesNotWaitForEver",
	"gateway/internal/upstream/host/process_unix.go":      "not: pipes and the end of another program, which the system has",
	"gateway/internal/upstream/host/supervise.go":         "TestPausesGrowAndBeginAgain TestStatusWhileDown",

	"gateway/internal/worktree/capture.go": "TestWaitingIsBounded",
	"gateway/internal/worktree/diff.go":    "TestWaitingIsBounded",

	"gateway/internal/wsconn/close.go":    "TestCutOffPeerIsReadOnForAWhile",
	"gateway/internal/wsconn/connect.go":  "TestHelloEndsWithItsTime",
	"gateway/internal/wsconn/netconn.go":  "TestWriteTimeoutCountsFromTheLastByte",
	"gateway/internal/wsconn/read.go":     "TestRequestEndsWithItsTime",
	"gateway/internal/wsconn/registry.go": "TestCadenceOfHeartbeatsAndTicks TestTimeToConnectIsBounded TestSessionEndsWithItsToken TestDrainIsSpread TestDrainThatIsLate TestDrainAfterItsTime",
	"gateway/internal/wsconn/write.go":    "TestCloseFrameIsWaitedForAWhile",
}

// TestEveryTimerIsTestedInFakeTime holds that no timer is added without such a test.
func TestEveryTimerIsTestedInFakeTime(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	for _, top := range []string{"gateway", "caddymodule", "internal"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil || !timers.Match(text) {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			file := filepath.ToSlash(rel)
			seen[file] = true
			says, there := timed[file]
			switch {
			case !there:
				t.Errorf("%s has timers: name the tests in fake time (testing/synctest) that show what they promise in the table of this test", file)
			case !strings.HasPrefix(says, "not: "):
				tests := inFakeTime(t, filepath.Dir(path))
				for _, name := range strings.Fields(says) {
					if !tests[name] {
						t.Errorf("%s: no test in fake time below its folder is called %s", file, name)
					}
				}
			}
			return nil
		}))
	}
	for file := range timed {
		if !seen[file] {
			t.Errorf("%s has no timers any more: take it from the table of this test", file)
		}
	}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// inFakeTime are the tests of the packages at and below a folder that fake time.
func inFakeTime(t *testing.T, folder string) map[string]bool {
	t.Helper()
	texts := map[string][]string{} // by package
	require.NoError(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		texts[filepath.Dir(path)] = append(texts[filepath.Dir(path)], string(text))
		return err
	}))
	names := map[string]bool{}
	for _, all := range texts {
		text := strings.Join(all, "\n")
		if !fakeTime.MatchString(text) {
			continue
		}
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			names[m[1]] = true
		}
	}
	return names
}
