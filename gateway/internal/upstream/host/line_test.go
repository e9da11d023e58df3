package host

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func logged(t *testing.T, text string, isError bool) []observer.LoggedEntry {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	(&output{log: zap.New(core)}).read(strings.NewReader(text), isError)
	return logs.All()
}

func TestLevelsOfLines(t *testing.T) {
	for _, c := range []struct {
		line    string
		isError bool
		level   zapcore.Level
		message string
	}{
		{"plain", false, zapcore.InfoLevel, "plain"},
		{"plain", true, zapcore.WarnLevel, "plain"},
		{"[error] no disk", false, zapcore.ErrorLevel, "no disk"},
		{"[10:20:28.915] INFO (#75) approval:grant=18ms: approval granted {", true, zapcore.InfoLevel, "approval granted {"},
		{"[10:20:28.915] ERROR (#75): no", false, zapcore.ErrorLevel, "no"},
		{"WARN: slow", false, zapcore.WarnLevel, "slow"},
		{"information is no level", false, zapcore.InfoLevel, "information is no level"},
		{"error in the third line", false, zapcore.InfoLevel, "error in the third line"},
		{"TypeError: x is not a function", true, zapcore.ErrorLevel, "TypeError: x is not a function"},
		{`{"level":"error","msg":"json","n":1}`, false, zapcore.ErrorLevel, "json"},
		{`{"level":50,"msg":"pino"}`, false, zapcore.ErrorLevel, "pino"},
		{`{"severity":"DEBUG","message":"cloud"}`, true, zapcore.DebugLevel, "cloud"},
		{`{"just":"data"}`, false, zapcore.InfoLevel, `{"just":"data"}`},
		{`{"level":"info"`, false, zapcore.InfoLevel, `{"level":"info"`},
		{`timestamp=2026-01-01T00:00:00Z level=Warn fiber=#3 message="a \"quoted\" word" run=1`, false, zapcore.WarnLevel, `a "quoted" word`},
	} {
		got := logged(t, c.line+"\n", c.isError)
		require.Len(t, got, 1, c.line)
		require.Equal(t, c.message, got[0].Message)
		require.Equal(t, c.level, got[0].Level, c.line)
	}
	require.Equal(t, map[string]string{"run": "1"},
		logged(t, `level=Warn message=x run=1`, false)[0].ContextMap()["fields"])
}

func TestStackTracesAreOneEntry(t *testing.T) {
	bun := `12 |   throw new TypeError("boom");
           ^
TypeError: boom
 code: "X"

      at deploy (/w/gateway.tsx:12:9)
      at start (/w/other.ts:1:1)
`
	node := "Error: no\n    at a (/w/a.js:1:1)\n    at b (/w/b.js:1:1)\n"
	got := logged(t, "before\n"+bun+"between\n"+node+"after\n", true)
	var messages []string
	for _, e := range got {
		messages = append(messages, e.Message)
	}
	require.Equal(t, []string{"before", "TypeError: boom", "between", "Error: no", "after"}, messages)
	require.Equal(t, zapcore.ErrorLevel, got[1].Level)
	require.Contains(t, got[1].ContextMap()["detail"], "other.ts:1:1")
}

func TestLongAndManyLines(t *testing.T) {
	got := logged(t, strings.Repeat("x", maxLine+10)+"\n", false)
	require.Len(t, got, 2)
	require.Len(t, got[0].Message, maxLine)
	got = logged(t, "Error: endless\n"+strings.Repeat("    at x (/y:1:1)\n", 1000), false)
	require.Len(t, got, 1+1000/maxJoined)
}

func TestAnEntryDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		o := &output{log: zap.New(core)}
		lines := make(chan string)
		go o.join(lines, false)
		lines <- "hello"
		time.Sleep(joinWithin)
		synctest.Wait()
		require.Equal(t, 1, logs.Len())
		require.Equal(t, "hello", o.tail())
		close(lines)
	})
}

func FuzzOutput(f *testing.F) {
	f.Add("level=Info message=x\n{\"msg\":1}\n12 | x\n ^\nError: y\n   at z (/a:1:2)\n", true)
	f.Fuzz(func(t *testing.T, text string, isError bool) {
		for _, e := range logged(t, text, isError) {
			require.LessOrEqual(t, len(e.Message), maxLine)
		}
	})
}
