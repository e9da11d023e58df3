package docs

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/evanw/esbuild/pkg/api"
	"github.com/stretchr/testify/require"

	_ "github.com/smithersai/caddy-smithers/caddymodule"
)

// TestSyntax: blocks are in a language that is known here, and without mistakes that a look
// at the block alone can find.
func TestSyntax(t *testing.T) {
	for _, d := range documents(t) {
		for _, b := range d.Blocks {
			if p := mistake(b); p != "" {
				t.Errorf("%s:%d: %s", b.File, b.Line, p)
			}
		}
	}
}

func mistake(b Block) string {
	switch b.Lang {
	case "sh":
	case "js", "ts":
		loader := map[string]api.Loader{"js": api.LoaderJS, "ts": api.LoaderTS}[b.Lang]
		if r := api.Transform(b.Text, api.TransformOptions{Loader: loader}); len(r.Errors) > 0 {
			return r.Errors[0].Text
		}
	case "json":
		if !json.Valid([]byte(b.Text)) {
			return "not JSON"
		}
	case "caddyfile":
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(Site(b.Text)), nil); err != nil {
			return err.Error()
		}
	default:
		return "no test reads " + b.Lang + " blocks: use sh, js, ts, json or caddyfile"
	}
	return ""
}

func TestMistakes(t *testing.T) {
	for _, b := range []Block{
		{Lang: "js", Text: "let = ;"},
		{Lang: "json", Text: "{"},
		{Lang: "caddyfile", Text: "smithers {\n\tno_such_word on\n}\n"},
		{Lang: "perl"},
	} {
		require.NotEmpty(t, mistake(b), "%+v", b)
	}
}
