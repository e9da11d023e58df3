package wire

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func nested(open, inner, close string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(close, n)
}

func TestCheckBounds(t *testing.T) {
	const (
		depth = "gateway frame exceeds the maximum JSON depth of 32."
		array = "gateway frame contains an array exceeding 256 items."
		bad   = "Gateway RPC payload must be valid JSON."
	)
	long := strings.Repeat("y", MaxStringUnits+1)
	items := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]" }
	tests := []struct{ name, in, want string }{
		{"scalar inside 31 containers", nested(`{"a":`, "1", "}", 31), ""},
		{"scalar inside 32 containers", nested(`{"a":`, "1", "}", 32), depth},
		{"32 containers, the last empty", nested(`[`, "", "]", 32), ""},
		{"33 containers", nested(`[`, "", "]", 33), depth},
		{"hostile nesting", nested(`[`, "", "]", 400_000), depth},
		{"hostile nesting, unfinished", strings.Repeat("[", 500_000), bad},
		{"hostile objects", nested(`{"a":`, "1", "}", 200_000), depth},
		{"256 items", items(256), ""},
		{"257 items", items(257), array},
		{"257 items far down", `{"params":{"x":[{"y":` + items(257) + `}]}}`, array},
		{"16384 units", `{"x":"` + long[1:] + `"}`, ""},
		{"16385 units", `{"params":{"x":"` + long + `"}}`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame.params.x: 16385 characters)."},
		{"units, not bytes", `"` + strings.Repeat("é", MaxStringUnits) + `"`, ""},
		{"units, not points", `{"e":"` + strings.Repeat("😀", MaxStringUnits/2) + `x"}`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame.e: 16385 characters)."},
		{"escapes count once", `"` + strings.Repeat(`\n`, MaxStringUnits) + `"`, ""},
		{"in an array", `{"a":[0,{"b":"` + long + `"}]}`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame.a[1].b: 16385 characters)."},
		{"array in array", `[[],["x","` + long + `"]]`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame[1][1]: 16385 characters)."},
		{"the root itself", `"` + long + `"`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame: 16385 characters)."},
		{"keys are unlimited", `{"` + long + `":1}`, ""},
		{"first violation wins, array before its items", `[` + strings.Repeat("0,", 256) + `"` + long + `"]`, array},
		{"first violation wins, string before array", `{"a":"` + long + `","b":` + items(257) + `}`,
			"gateway frame contains a string exceeding 16384 characters (at gateway frame.a: 16385 characters)."},
		{"no JSON beats a violation", nested(`[`, "", "]", 40) + "x", bad},
		{"empty", "", bad}, {"trailing comma", `{"a":1,}`, bad}, {"array trailing comma", `[1,]`, bad},
		{"leading comma", `[,1]`, bad}, {"leading zero", `01`, bad}, {"bare minus", `-`, bad},
		{"bad escape", `"\x"`, bad}, {"short escape", `"\u12"`, bad}, {"control", "\"\n\"", bad},
		{"unquoted key", `{a:1}`, bad}, {"mismatch", `[}`, bad}, {"two values", `1 2`, bad}, {"words", `nul`, bad},
		{"space around", " \t\r\n{ \"a\" : [ ] , \"b\" : { } } \n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckBounds([]byte(tt.in))
			if tt.want == "" {
				require.Nil(t, err)
				return
			}
			require.NotNil(t, err)
			require.Equal(t, CodeInvalidInput, err.Code)
			require.Equal(t, tt.want, err.Message)
		})
	}
}

func TestLongKeysDoNotFloodTheMessage(t *testing.T) {
	err := CheckBounds([]byte(`{"` + strings.Repeat("k", 500_000) + `":"` + strings.Repeat("y", 20_000) + `"}`))
	require.NotNil(t, err)
	require.Less(t, len(err.Message), 400)
}

func TestPromptIsCutBeforeBounds(t *testing.T) {
	prompt := func(s string) string {
		return `{"type":"req","id":"a","method":"launchRun","params":{"options":{"startedBy":{"prompt":"` + s + `"}}}}`
	}
	for name, tt := range map[string]struct{ in, want string }{
		"short":           {"hi", "hi"},
		"exact":           {strings.Repeat("x", MaxPromptPoints), strings.Repeat("x", MaxPromptPoints)},
		"one more":        {strings.Repeat("x", MaxPromptPoints+1), strings.Repeat("x", MaxPromptPoints)},
		"far more":        {strings.Repeat("é", 40_000), strings.Repeat("é", MaxPromptPoints)},
		"pairs":           {strings.Repeat(`\ud83d\ude00`, MaxPromptPoints+5), strings.Repeat("😀", MaxPromptPoints)},
		"astral":          {strings.Repeat("😀", MaxPromptPoints+1), strings.Repeat("😀", MaxPromptPoints)},
		"pair at the cut": {strings.Repeat("x", MaxPromptPoints-1) + `\ud83d\ude00tail`, strings.Repeat("x", MaxPromptPoints-1) + "😀"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := DecodeFrame([]byte(prompt(tt.in)))
			require.Nil(t, err)
			var p struct {
				Options struct{ StartedBy struct{ Prompt string } }
			}
			require.NoError(t, json.Unmarshal(req.Params, &p))
			require.Equal(t, tt.want, p.Options.StartedBy.Prompt)
		})
	}
	t.Run("a long string elsewhere still counts", func(t *testing.T) {
		_, err := DecodeFrame([]byte(prompt(strings.Repeat("x", 9_000) + `","session":"` + strings.Repeat("y", 16_385))))
		require.NotNil(t, err)
		require.Contains(t, err.Message, "gateway frame.params.options.startedBy.session")
	})
	t.Run("body as params", func(t *testing.T) {
		req, err := DecodeBody("launchRun", []byte(`{"options":{"startedBy":{"prompt":"`+strings.Repeat("x", 20_000)+`"}}}`), "f")
		require.Nil(t, err)
		require.Less(t, len(req.Params), 8_300)
	})
}

// A frame is decoded before anybody has authenticated, so that nesting without end
// must not take much more memory than the frame itself.
func TestNestingTakesLittleMemory(t *testing.T) {
	for _, open := range []string{"[", `{"":`, `{"a":[1,`} {
		data := []byte(strings.Repeat(open, MaxMessageBytes/len(open)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NotNil(t, CheckBounds(data))
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "%s", open)
	}
}

func TestCheckInput(t *testing.T) {
	require.Nil(t, CheckInput(json.RawMessage(nested(`{"a":`, `"[[[{{{\"["`, "}", 32))))
	err := CheckInput(json.RawMessage(nested(`{"a":`, "1", "}", 33)))
	require.NotNil(t, err)
	require.Equal(t, "Gateway RPC input exceeds the maximum nesting depth of 32.", err.Message)

	exact := `{"a":"` + strings.Repeat("x", MaxInputBytes-8) + `"}`
	require.Len(t, exact, MaxInputBytes)
	require.Nil(t, CheckInput(json.RawMessage(exact)))
	require.Nil(t, CheckInput(json.RawMessage("{ "+exact[1:])), "space does not count")
	err = CheckInput(json.RawMessage(`{"ab":"` + exact[6:]))
	require.NotNil(t, err)
	require.Equal(t, "Gateway RPC input exceeds 1048576 bytes.", err.Message)
}

func FuzzBounds(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `{"a":[1,-2.5e+3,true,null,"\u00e9\ud83d\ude00"]}`, `[[[[`, `{"a":1,}`, "\"\xff\"",
		nested("[", "0", "]", 33), `"\ud83d"`, `[1 2]`, "{\"a\" :\t1}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := CheckBounds(data)
		notJSON := err != nil && err.Message == errNotJSON.Message
		if valid := json.Valid(data); valid == notJSON && strings.Count(string(data), "[")+strings.Count(string(data), "{") < 10_000 {
			t.Fatalf("json.Valid says %v, CheckBounds %v", valid, err)
		}
		if notJSON {
			return
		}
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		// A tree has lost repeated members, so a violation may hide in one of them.
		if want := slowBounds(v, 1); want && err == nil {
			t.Fatalf("bounds broken but %q passes", data)
		}
	})
}

// slowBounds is the obvious check on a tree.
func slowBounds(v any, depth int) bool {
	if depth > MaxJSONDepth {
		return true
	}
	switch v := v.(type) {
	case string:
		return UnitCount(v) > MaxStringUnits
	case []any:
		if len(v) > MaxArrayItems {
			return true
		}
		for _, it := range v {
			if slowBounds(it, depth+1) {
				return true
			}
		}
	case map[string]any:
		for _, it := range v {
			if slowBounds(it, depth+1) {
				return true
			}
		}
	}
	return false
}

func BenchmarkDecodeFrame(b *testing.B) {
	data := []byte(`{"type":"req","id":"r1","method":"launchRun","params":{"workflow":"compute","input":{"ms":50,"list":[1,2,3]},"options":{"runId":"build-7"}}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := DecodeFrame(data); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleCheckBounds() {
	fmt.Println(CheckBounds([]byte(`{"params":[` + strings.Repeat("0,", 256) + `0]}`)))
	// Output: INVALID_INPUT: gateway frame contains an array exceeding 256 items.
}
