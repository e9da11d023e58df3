package jsmod

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// positions translates places in a bundle into places in the user's files. The map
// is decoded at the first error. Safe for concurrent use.
type positions struct {
	raw  []byte
	once sync.Once
	// lines[i] are the segments of the i-th line of the bundle, by column
	lines   [][]segment
	sources []string
}

type segment struct{ column, source, line, sourceColumn int }

func newPositions(sourceMap []byte) *positions { return &positions{raw: sourceMap} }

// frame matches the place in one line of a stack.
var frame = regexp.MustCompile(`<eval>:(\d+)(?::(\d+))?`)

// placeless matches a frame of the prelude, whose bytecode has no places.
var placeless = regexp.MustCompile(`^\s*at [^\s():]+$|<host>`)

// mapStack rewrites the frames of a stack: those of the module get the user's file,
// line and column, those of the prelude and the engine are left out.
func (p *positions) mapStack(stack string) string {
	if stack == "" || p == nil {
		return stack
	}
	var out []string
	for line := range strings.Lines(stack) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasSuffix(line, "(native)") || placeless.MatchString(line) {
			continue
		}
		at := frame.FindStringSubmatchIndex(line)
		if at == nil {
			out = append(out, line)
			continue
		}
		row, _ := strconv.Atoi(line[at[2]:at[3]])
		column := 1
		if at[4] >= 0 {
			column, _ = strconv.Atoi(line[at[4]:at[5]])
		}
		if place, ok := p.lookup(row, column); ok {
			out = append(out, line[:at[0]]+place+line[at[1]:])
		}
	}
	return strings.Join(out, "\n")
}

// lookup translates a place of the bundle, both counted from 1. Code that the
// bundler added, such as its helpers, has no place.
func (p *positions) lookup(row, column int) (string, bool) {
	p.once.Do(func() { _ = p.decode() }) // a broken map leaves stacks without places
	if row < 1 || row > len(p.lines) {
		return "", false
	}
	line := p.lines[row-1]
	i := sort.Search(len(line), func(i int) bool { return line[i].column > column-1 }) - 1
	if i < 0 || line[i].source < 0 || line[i].source >= len(p.sources) || p.sources[line[i].source] == entryName {
		return "", false
	}
	return fmt.Sprintf("%s:%d:%d", p.sources[line[i].source], line[i].line+1, line[i].sourceColumn+1), true
}

var errSourceMap = errors.New("malformed source map")

func (p *positions) decode() error {
	var m struct {
		Sources  []string `json:"sources"`
		Mappings string   `json:"mappings"`
	}
	if err := json.Unmarshal(p.raw, &m); err != nil {
		return fmt.Errorf("%w: %w", errSourceMap, err)
	}
	p.sources = m.Sources
	var source, line, column int
	for row := range strings.SplitSeq(m.Mappings, ";") {
		var segments []segment
		generated := 0
		for text := range strings.SplitSeq(row, ",") {
			if text == "" {
				continue
			}
			var fields [5]int
			n, err := decodeVLQ(text, fields[:])
			if err != nil {
				return err
			}
			generated += fields[0]
			s := segment{column: generated, source: -1}
			if n >= 4 {
				source += fields[1]
				line += fields[2]
				column += fields[3]
				s.source, s.line, s.sourceColumn = source, line, column
			}
			segments = append(segments, s)
		}
		p.lines = append(p.lines, segments)
	}
	return nil
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decodeVLQ reads up to len(out) base64 VLQ numbers.
func decodeVLQ(text string, out []int) (n int, err error) {
	value, shift := 0, 0
	for i := range len(text) {
		d := strings.IndexByte(base64Digits, text[i])
		if d < 0 || shift > 30 {
			return 0, errSourceMap
		}
		value |= (d & 31) << shift
		if d&32 != 0 {
			shift += 5
			continue
		}
		if n == len(out) {
			return 0, errSourceMap
		}
		if out[n] = value >> 1; value&1 != 0 {
			out[n] = -out[n]
		}
		n++
		value, shift = 0, 0
	}
	if shift != 0 {
		return 0, errSourceMap
	}
	return n, nil
}
