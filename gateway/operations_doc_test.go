package gateway

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestOperationsDocumentIsTrue holds that docs/operations.md alerts on metrics that
// exist, and shows every limit that is a setting with its default.
func TestOperationsDocumentIsTrue(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)

	var known strings.Builder
	for _, c := range New(nil).Collectors() {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			known.WriteString(d.String())
		}
	}
	names := regexp.MustCompile(`smithers_gateway_[a-z_]+`).FindAllString(string(text), -1)
	require.Greater(t, len(names), 10)
	for _, name := range names {
		require.Contains(t, known.String(), fmt.Sprintf("fqName: %q", name))
	}

	limits := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\S+) \\|").FindAllStringSubmatch(string(text), -1)
	shown := map[string]string{}
	for _, l := range limits {
		shown[l[1]] = l[2]
	}
	s := DefaultSettings()
	for _, f := range fields {
		if !strings.HasPrefix(f.name, "max_") && !strings.HasPrefix(f.name, "streams_") {
			continue
		}
		if f.name == "max_stream_lag_bytes" || f.name == "max_abandoned_vms" {
			continue // beside max_stream_lag; an alert of its own
		}
		require.Contains(t, shown, f.name, "a limit is not in the table")
	}
	for name, value := range shown {
		for _, f := range fields {
			if f.name == name {
				require.Equal(t, humanSetting(f.value(&s)), value, name)
			}
		}
	}
}

// humanSetting writes a value as a Caddyfile would.
func humanSetting(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return fmt.Sprintf("%gs", v.Seconds())
	case int64:
		return sizeText(v)
	case int:
		if v == DefaultMaxEventBytes {
			return sizeText(int64(v))
		}
		return fmt.Sprint(v)
	}
	return fmt.Sprint(v)
}

func sizeText(n int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n%u.unit == 0 {
			return fmt.Sprintf("%d%s", n/u.unit, u.name)
		}
	}
	return fmt.Sprint(n)
}
