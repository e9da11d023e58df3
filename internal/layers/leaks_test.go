package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// starts finds what leaves a goroutine behind when nobody ends it.
var starts = regexp.MustCompile(`(?m)^\s*go (func\b|[\w.]+\()|\.Go\(|\.AfterFunc\(|time\.NewTicker\(`)

// TestWhoStartsGoroutinesLooksForLeaks holds that the tests of every such package of
// the gateway end with goleak.
func TestWhoStartsGoroutinesLooksForLeaks(t *testing.T) {
	for _, p := range list(t) {
		rel := strings.TrimPrefix(p.ImportPath, Module+"/")
		if !within(rel, "gateway") && !within(rel, "caddymodule") {
			continue
		}
		tests, err := filepath.Glob(filepath.Join(p.Dir, "*_test.go"))
		require.NoError(t, err)
		if len(tests) == 0 { // helpers of other tests
			continue
		}
		all := func(files []string) string {
			var text strings.Builder
			for _, f := range files {
				b, err := os.ReadFile(f)
				require.NoError(t, err)
				text.Write(b)
			}
			return text.String()
		}
		var own []string
		for _, f := range p.GoFiles {
			own = append(own, filepath.Join(p.Dir, f))
		}
		if starts.MatchString(all(own)) && !strings.Contains(all(tests), "goleak.") {
			t.Errorf("%s starts goroutines, but its tests do not look for leaks (goleak.VerifyTestMain)", p.ImportPath)
		}
	}
}
