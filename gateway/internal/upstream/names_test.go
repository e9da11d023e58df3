package upstream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// However its bytes are spread, an event is kept within the bound, with what tells it
// apart.
func TestManyMembersAreBounded(t *testing.T) {
	const limit = 8 << 10
	for name, value := range map[string]any{"numbers": 1, "short texts": "abcdefghij", "long texts": strings.Repeat("ü\x00", 100), "lists": []int{1, 2, 3}} {
		for _, typ := range []string{"Custom", wire.TypeNodeOutput} {
			members := map[string]any{"nodeId": "n", "iteration": 3}
			for i := range 10_000 / len(fmt.Sprint(value)) {
				members[fmt.Sprintf("member%07d\x00", i)] = value
			}
			payload, err := json.Marshal(members)
			require.NoError(t, err)
			ev := translate(&logged{RunID: "r", Event: typ, Payload: payload}, limit)
			for _, stored := range []json.RawMessage{ev.Payload, ev.Detail} {
				require.LessOrEqual(t, len(stored), limit, name)
				require.True(t, len(stored) == 0 || json.Valid(stored), name)
			}
			var kept map[string]any
			require.NoError(t, json.Unmarshal(ev.Payload, &kept))
			require.Equal(t, "n", kept["nodeId"])
			require.EqualValues(t, 3, kept["iteration"])
			require.Contains(t, string(ev.Payload)+string(ev.Detail), `"truncated":true`, name)
		}
	}
}

// The longest values are cut first, and no more than has to be.
func TestLongestValuesAreCutFirst(t *testing.T) {
	w := writer{}
	w.member("short", json.RawMessage(`"abc"`))
	w.member("long", quote(strings.Repeat("x", 500)))
	w.member("list", json.RawMessage("["+strings.Repeat("1,", 400)+"1]"))
	require.JSONEq(t, `{"short":"abc","long":"`+strings.Repeat("x", 500)+`","list":null,"truncated":true}`, string(w.object(600)))
	require.JSONEq(t, `{"short":"abc","long":"`+strings.Repeat("x", 45)+`","list":null,"truncated":true}`, string(w.object(100)))
	require.Equal(t, `{"short":null,"truncated":true}`, string(w.object(40)))
	require.Equal(t, `{"truncated":true}`, string(w.object(1)))
	require.Equal(t, `{}`, string((&writer{}).object(100)))
}
