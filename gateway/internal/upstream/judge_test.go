package upstream

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// refusing is the answer of a Smithers that asks for another token.
var refusing = upstreamtest.Faults{Status: 401, Garbage: `{"type":"res","id":"x","ok":false,"apiVersion":"v1",` +
	`"error":{"version":"v1","code":"UNAUTHORIZED","message":"no such token"}}`}

// The log tells once of each change of an upstream elsewhere: it went, came back, refuses
// this gateway, lets it in again.
func TestLogTellsOfAnUpstreamElsewhere(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	inBubbleWith(t, Options{Logger: zap.New(core)}, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		r := newRemote(Target{URL: "http://there", Token: "t"}, address{base: "http://memory"},
			func(ctx context.Context) (net.Conn, error) { return m.Dial(ctx) })
		defer r.Close()
		synctest.Wait()
		require.NoError(t, f.Use(t.Context(), r, nil))
		said := func(level zapcore.Level, message string) {
			t.Helper()
			time.Sleep(time.Minute) // several probes and sweeps
			synctest.Wait()
			all := logs.TakeAll()
			require.Len(t, all, 1)
			require.Equal(t, level, all[0].Level)
			require.Contains(t, all[0].Message, message)
			require.Equal(t, "http://there", all[0].ContextMap()["upstream"])
		}
		said(zapcore.InfoLevel, "the upstream answers")
		m.Fail(refusing)
		said(zapcore.ErrorLevel, "it does not accept the token in the block of upstream")
		require.True(t, f.Refused(r))
		m.Fail(upstreamtest.Faults{})
		said(zapcore.InfoLevel, "the upstream lets this gateway in again")
		require.False(t, f.Refused(r))

		r.probing.CloseIdleConnections()
		m.CutSockets()
		m.Refuse(errors.New("refused"))
		said(zapcore.WarnLevel, "the upstream does not answer")
		m.Refuse(nil)
		said(zapcore.InfoLevel, "the upstream answers")
	})
}

// A token that allows too little is refused at a start, and the error says where it is.
func TestTokenWithoutScopeIsNamed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		r := newRemote(Target{URL: "http://there", Token: "t"}, address{base: "http://memory"},
			func(ctx context.Context) (net.Conn, error) { return m.Dial(ctx) })
		defer r.Close()
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Status: 403, Garbage: `{"type":"res","id":"x","ok":false,"apiVersion":"v1",` +
			`"error":{"version":"v1","code":"FORBIDDEN","message":"Missing required scope"}}`})
		err := f.Use(t.Context(), r, nil)
		require.ErrorContains(t, err, "upstream http://there: it does not accept the token in the block of upstream")
		require.ErrorContains(t, err, "Missing required scope")
	})
}
