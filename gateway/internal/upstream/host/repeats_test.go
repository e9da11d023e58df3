package host

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A warning that comes again and again is written once a minute, with how often it came;
// what users print, and what differs, is written as it is.
func TestRepeatedWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		out := &output{log: zap.New(core)}
		warn := func(n int) string {
			run := fmt.Sprintf("run-%06d", n)
			return fmt.Sprintf(`timestamp=2026 level=WARN fiber=#%d message="cannot write '/ws/%s/log'" runId=%s eventType=Node%d`+"\n", n, run, run, n)
		}
		var text strings.Builder
		for n := range 50 {
			text.WriteString(warn(n))
		}
		text.WriteString("same\nsame\n" + `level=WARN message="something else" runId=run-000001` + "\n")
		out.read(strings.NewReader(text.String()), false)
		messages := func() (all []string) {
			for _, e := range logs.TakeAll() {
				m := e.Message
				if n, ok := e.ContextMap()["repeated"]; ok {
					m += fmt.Sprint(" +", n)
				}
				all = append(all, m)
			}
			return all
		}
		require.Equal(t, []string{"cannot write '/ws/run-000000/log'", "same", "same", "something else"}, messages())
		time.Sleep(repeatWindow)
		out.read(strings.NewReader(warn(50)+warn(51)+warn(52)), false)
		require.Equal(t, []string{"cannot write '/ws/run-000050/log' +49"}, messages())
		out.end()
		require.Equal(t, []string{"cannot write '/ws/run-000052/log' +1"}, messages())
	})
}

// However many different ones there are, what is remembered is bounded and nothing is lost.
func TestRepeatsAreBounded(t *testing.T) {
	r := &repeats{}
	written := 0
	for n := range 3 * maxRepeats {
		e := logEntry{level: zapcore.WarnLevel, message: fmt.Sprint("m", n), values: map[string]string{"a": "b"}}
		written += len(r.take(e)) + len(r.take(e))
		require.LessOrEqual(t, len(r.seen), maxRepeats)
	}
	require.Equal(t, 6*maxRepeats, written+len(r.end()))
}
