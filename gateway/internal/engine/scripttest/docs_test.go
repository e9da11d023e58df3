package scripttest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEventsAreDocumented holds that the reference page knows every event.
func TestEventsAreDocumented(t *testing.T) {
	page := read(t, filepath.Join("..", "..", "..", "..", "docs", "events.md"))
	for name := range pushedShapes {
		require.Contains(t, page, "| `"+name+"` |")
	}
	for typ, members := range silentShapes {
		require.Contains(t, page, "| "+typ+" |")
		for _, member := range strings.Split(strings.TrimPrefix(strings.TrimPrefix(string(members), ofNode), ofRun), ", ") {
			if name, _, ok := strings.Cut(member, " "); ok && !strings.HasPrefix(name, "node.") { // REST does not show it
				require.Contains(t, page, "`"+name+"`", typ)
			}
		}
	}
}
