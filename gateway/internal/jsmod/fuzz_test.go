package jsmod

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5m": 5 * time.Minute, "1h30m": 90 * time.Minute, " 1h 30m ": 90 * time.Minute, "250ms": 250 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
		"2d": 48 * time.Hour, "1w": 168 * time.Hour, "0s": 0, ".5s": 500 * time.Millisecond,
	} {
		got, err := ParseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", " ", "5", "m", "-5m", "5 minutes", "1h1h", "1.2.3s", "5.s", "1e3s", "99999999d", "５m", "1h;2m", "+1s", "1_0s", "."} {
		_, err := ParseDuration(text)
		require.ErrorIs(t, err, ErrDuration, text)
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"5m", "1h30m", "1.5s", "", "9999999999w", "1m1m", "0.0000001ms"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err == nil && (d < 0 || d > MaxDuration) {
			t.Fatalf("%q gives %v", text, d)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add("task", "a", "", `{"retries":1}`)
	f.Add("run", "a", `{"kind":"loop","id":"l#1","iteration":2}`, `{"workflow":"w","input":{"json":"{}"}}`)
	f.Add("effect", "", "", `{"op":"score","args":{"json":"{}"}}`)
	f.Add("approval", "g", "", `{"autoApprove":{"x":[1]}}`)
	f.Add("timer", "t", "{", `{"durationMs":1e400}`)
	f.Fuzz(func(_ *testing.T, kind, id, blocks, options string) {
		r, err := decodeRequest([]any{1, kind, id, 0, "", blocks, options})
		if err == nil {
			_ = r.ArgsHash()
		}
	})
}

func FuzzSourceMap(f *testing.F) {
	f.Add([]byte(`{"sources":["a.ts"],"mappings":"AAAA;AACA,SAAS"}`), "    at f (<eval>:1:1)\n    at g (native)\n")
	f.Add([]byte(`{"sources":[],"mappings":"gggggggg"}`), "<eval>:99999999999999999999:1")
	f.Fuzz(func(_ *testing.T, raw []byte, stack string) {
		newPositions(raw).mapStack(stack)
	})
}

func FuzzURL(f *testing.F) {
	f.Add("http://a/b?c#d", "", "port", "80")
	f.Add("//x", "https://y/", "host", "[::1]")
	f.Fuzz(func(_ *testing.T, input, base, part, value string) {
		_, _ = opURL([]any{"parse", input, base})
		_, _ = opURL([]any{"set", input, part, value})
	})
}
