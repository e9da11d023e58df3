package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/stretchr/testify/require"

	_ "github.com/smithersai/caddy-smithers/caddymodule"
)

// runners are the documents whose blocks marked runnable a test runs, all of them in
// order, and the test.
var runners = map[string]string{
	"README.md":          "e2e/readme_test.go",
	"docs/operations.md": "e2e/operations/operations_test.go",
}

// guideKinds are the words of deploy/reference/README.md, which deploy/test knows.
var guideKinds = regexp.MustCompile(`^(compose|smithers|package|host|edge|kubernetes|make test builds it the same way)$`)

// Commands are run by a test, or say what they need; other blocks are parsed.
func TestFences(t *testing.T) {
	counts := map[string]int{}
	for _, d := range documents(t) {
		for _, f := range d.fences {
			counts[f.lang]++
			if problem := check(t, f); problem != "" {
				t.Errorf("%s:%d: %s", f.file, f.line, problem)
			}
		}
	}
	for _, lang := range []string{"sh", "js", "ts", "caddyfile"} {
		require.Positive(t, counts[lang], lang)
	}
}

func check(t *testing.T, f fence) string {
	switch f.lang {
	case "sh":
		return checkMarker(t, f)
	case "js", "ts":
		loader := api.LoaderJS
		if f.lang == "ts" {
			loader = api.LoaderTS
		}
		if r := api.Transform(f.text, api.TransformOptions{Loader: loader}); len(r.Errors) > 0 {
			return r.Errors[0].Text
		}
	case "json":
		if !json.Valid([]byte(f.text)) {
			return "not JSON"
		}
	case "caddyfile":
		text := f.text
		if strings.HasPrefix(text, "smithers") { // a part of a site
			text = "http://localhost {\n" + text + "}\n"
		}
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil); err != nil {
			return err.Error()
		}
	default:
		return "no test reads " + f.lang + " blocks: use sh, js, ts, json or caddyfile"
	}
	return ""
}

func checkMarker(t *testing.T, f fence) string {
	kind, what, _ := strings.Cut(f.marker, ": ")
	switch {
	case f.marker == "runnable":
		test, ok := runners[f.file]
		if !ok {
			return "no test runs the runnable blocks of this document"
		}
		text, err := os.ReadFile(filepath.Join(root, test))
		require.NoError(t, err)
		require.Contains(t, string(text), "<!-- runnable -->", test)
		require.Contains(t, string(text), filepath.Base(f.file), test)
	case kind == "needs" && what != "":
	case kind == "tested" && f.file == "deploy/reference/README.md" && guideKinds.MatchString(what):
	case kind == "tested":
		if tests, err := filepath.Glob(filepath.Join(root, what, "*_test.go")); err != nil || len(tests) == 0 {
			return "no tests are in " + what
		}
	default:
		return "commands need a line above them: <!-- runnable -->, <!-- tested: FOLDER --> or <!-- needs: WHAT -->"
	}
	return ""
}

func TestCheckRefuses(t *testing.T) {
	for _, f := range []fence{
		{lang: "sh"},
		{lang: "sh", marker: "runnable", file: "docs/events.md"},
		{lang: "sh", marker: "needs: "},
		{lang: "sh", marker: "tested: nowhere"},
		{lang: "js", text: "let = ;"},
		{lang: "json", text: "{"},
		{lang: "caddyfile", text: "smithers {\n\tno_such_word on\n}\n"},
		{lang: "perl"},
	} {
		require.NotEmpty(t, check(t, f), "%+v", f)
	}
}
