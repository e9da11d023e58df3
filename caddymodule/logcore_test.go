package caddymodule

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestSwitchedCoreFollowsTheNewestConfig(t *testing.T) {
	core := newSwitchedCore()
	logger := zap.New(core)
	old, oldLogs := observer.New(zapcore.InfoLevel)
	fresh, freshLogs := observer.New(zapcore.DebugLevel)

	logger.Info("nobody listens yet")
	core.push("old", old)
	kept := logger.Named("store").With(zap.Int("n", 1)).With(zap.String("s", "x"))
	kept.Info("one")
	kept.Debug("too fine for the old config")
	core.push("fresh", fresh)
	kept.Debug("two")
	core.drop("old")
	kept.Info("three")
	core.push("failing", old)
	core.drop("failing")
	kept.Info("four")
	core.drop("fresh")
	logger.Info("last words")

	texts := func(logs *observer.ObservedLogs) (all []string) {
		for _, e := range logs.All() {
			all = append(all, e.Message)
		}
		return all
	}
	require.Equal(t, []string{"one"}, texts(oldLogs))
	require.Equal(t, []string{"two", "three", "four", "last words"}, texts(freshLogs))
	require.Equal(t, map[string]any{"n": int64(1), "s": "x"}, freshLogs.All()[0].ContextMap())
	require.Equal(t, "store", freshLogs.All()[0].LoggerName)
}
