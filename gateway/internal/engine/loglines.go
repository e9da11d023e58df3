package engine

import (
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of what a run may write to the gateway's log, which has no bound of its own:
// so many lines at once, so many each second from then on, and so long ones.
const (
	maxLogBurst = 1_000
	maxLogRate  = 50
	maxLogLine  = 16 << 10 // bytes
)

// logBudget is how many lines a run may still log.
type logBudget struct {
	spent   int64 // lines; falls with time
	at      int64 // ms, when it fell last
	dropped int64
}

// take reports whether a line may be logged, and how many before it were not.
func (b *logBudget) take(now int64) (ok bool, dropped int64) {
	if back := (now - b.at) * maxLogRate / 1000; back > 0 || b.at > now {
		b.spent, b.at = max(b.spent-back, 0), now
	}
	if b.spent >= maxLogBurst {
		b.dropped++
		return false, 0
	}
	b.spent++
	dropped, b.dropped = b.dropped, 0
	return true, dropped
}

func (r *run) logLine(op program.LogLine) {
	ok, dropped := r.lines.take(r.now())
	if !ok {
		return
	}
	if dropped > 0 {
		r.log.Warn("the workflow logs more than is taken; lines were dropped", zap.Int64("lines", dropped))
	}
	fields := []zap.Field{zap.String("workflow", r.row.WorkflowKey)}
	line := cutLine(op.Text)
	switch op.Level {
	case "debug":
		r.log.Debug(line, fields...)
	case "warn":
		r.log.Warn(line, fields...)
	case "error":
		r.log.Error(line, fields...)
	default:
		r.log.Info(line, fields...)
	}
}

func cutLine(line string) string {
	if len(line) > maxLogLine {
		line = wire.TruncatePoints(line, maxLogLine/4) + " …"
	}
	return line
}
