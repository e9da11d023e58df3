package deploytest

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway"
)

// What a stop may take besides grace_period, and what a supervisor should add.
const (
	closing = 10 * time.Second // closeMargin of caddymodule
	reserve = 5 * time.Second
)

var gracePeriod = regexp.MustCompile(`(?m)^\tgrace_period (\S+)$`)

// shutdown is the longest that a gateway with this Caddyfile takes to stop.
func shutdown(t *testing.T, file ...string) time.Duration {
	t.Helper()
	m := gracePeriod.FindStringSubmatch(read(t, file...))
	require.NotNil(t, m, "%v has no grace_period: an open stream would hold up a stop for ever", file)
	grace, err := time.ParseDuration(m[1])
	require.NoError(t, err)
	return grace + gateway.DefaultDrainTime + closing
}
