//go:build !race

package host

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/quickjs"
)

// A run is taken over from an owner that is known to be gone, and from no other.
func TestWhoseRunsAreTakenOver(t *testing.T) {
	text, err := scripts.ReadFile("owner.mjs")
	require.NoError(t, err)
	thread := quickjs.NewThread()
	vm := quickjs.New(nil)
	require.NoError(t, vm.Use(thread))
	defer thread.Close()
	defer vm.Close()
	code, err := vm.Compile(strings.Replace(string(text), "export ", "", 1)+`
		(function (text) {
			const c = JSON.parse(text);
			return left({ runtimeOwnerId: c.owner, heartbeatAtMs: c.beat }, 1_000_000, { pid: 7, since: 990_000 }, new Map(c.ended), () => c.exists);
		})`, true)
	require.NoError(t, err)
	left, err := vm.Load(code)
	require.NoError(t, err)
	defer vm.Free(left)
	type list = []any
	for name, c := range map[string]struct {
		owner any
		beat  int64
		ended list
		there bool // a process of that number
		want  bool
	}{
		"lives":                                         {"pid:5:a", 999_500, nil, true, false},
		"is not seen from here, but writes":             {"pid:5:a", 995_500, nil, false, false},
		"is not seen from here and is silent":           {"pid:5:a", 994_000, nil, false, true},
		"is stuck":                                      {"pid:5:a", 950_000, nil, true, false},
		"is silent: the number is another's by now":     {"pid:5:a", 930_000, nil, true, true},
		"has ended, as its supervisor says":             {"pid:5:a", 998_500, list{list{5, 998_600}}, false, true},
		"has ended, and its number is another's by now": {"pid:5:a", 998_500, list{list{5, 998_600}}, true, true},
		"has the number of one that ended before":       {"pid:5:a", 999_500, list{list{5, 998_600}}, true, false},
		"is this process":                               {"pid:7:a", 999_500, nil, true, false},
		"had the number of this process":                {"pid:7:a", 989_000, nil, true, true},
		"is nobody, for a while":                        {nil, 930_000, nil, false, true},
		"is nobody, since a moment":                     {nil, 990_000, nil, false, false},
	} {
		text, err := json.Marshal(map[string]any{"owner": c.owner, "beat": c.beat, "ended": append(list{}, c.ended...), "exists": c.there})
		require.NoError(t, err)
		got, err := vm.Call(left, string(text))
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
}
