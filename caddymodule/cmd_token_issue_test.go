package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIssueHints(t *testing.T) {
	for _, tc := range []struct {
		name, ttl string
		lifetime  time.Duration
		scopes    []string
		want      []string // in each hint, in this order
	}{
		{"usual", "1h", time.Hour, []string{"run:read", "*", "approval:submit", "getRun", "runs.*"}, nil},
		{"mistyped", "1h", time.Hour, []string{"run:reed"}, []string{`"run:reed" allows no method`, "did you mean run:read?"}},
		{"of the user's own", "1h", time.Hour, []string{"run:read", "finance"}, []string{`"finance" allows no method`}},
		{"no unit", "90", 90 * time.Millisecond, []string{"*"}, []string{"after 90ms", "--ttl 90s, 90m or 90h"}},
		{"short on purpose", "500ms", 500 * time.Millisecond, []string{"*"}, []string{"after 500ms"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := strings.Join(issueHints(tc.scopes, tc.lifetime, tc.ttl), "\n")
			for _, want := range tc.want {
				require.Contains(t, text, want)
			}
			require.Equal(t, len(tc.want) == 0, text == "", text)
		})
	}
}
