package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// maxValueBytes bounds what a task or a run returns, as JSON. It is kept, replayed and
// sent as a whole.
const maxValueBytes = 16 << 20

func checkSize(size int, what string) *program.Failure {
	if size <= maxValueBytes {
		return nil
	}
	return &program.Failure{Name: "Error", Code: codeTooLarge, NoRetry: true, Message: fmt.Sprintf(
		"the %s has %d bytes; at most %d are kept: store it elsewhere and return where", what, size, maxValueBytes)}
}

// checkSchema validates a value against a JSON schema (2020-12 unless it says
// otherwise). nil means that it fits or that there is no schema. References to
// other documents are refused: nothing is fetched.
func checkSchema(schema, value json.RawMessage, code, what string) *program.Failure {
	if len(schema) == 0 || string(schema) == "null" {
		return nil
	}
	compiled, err := compileSchema(schema)
	if err != nil {
		return &program.Failure{Name: "Error", Code: code, Message: "the schema for the " + what + " is not usable: " + err.Error(), NoRetry: true}
	}
	if len(value) == 0 {
		value = json.RawMessage("null")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err == nil {
		err = compiled.Validate(doc)
	}
	if err == nil {
		return nil
	}
	return &program.Failure{Name: "Error", Code: code, Message: what + " does not match its schema: " + brief(err)}
}

func compileSchema(schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	const url = "schema:node"
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	return c.Compile(url)
}

type noLoader struct{}

var errNoReference = errors.New("references to other documents are not allowed")

func (noLoader) Load(string) (any, error) { return nil, errNoReference }

// brief drops the library's first line, which only names the schema.
func brief(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) > 1 {
		lines = lines[1:]
	}
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimSpace(l), "- ")
	}
	return strings.Join(lines, "; ")
}
