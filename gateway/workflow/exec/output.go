package exec

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// maxChunk bounds the text of one event.
const maxChunk = 8 << 10

// output passes both streams on as events, in the order in which they come.
type output struct {
	task workflow.Task

	mu    sync.Mutex
	left  int64 // bytes that may still become events
	short bool
}

func (o *output) emit(stream string, text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int64(len(text)) > o.left {
		if !o.short {
			o.short = true
			o.task.Output("stderr", "[further output is not shown]")
		}
		return
	}
	o.left -= int64(len(text))
	o.task.Output(stream, strings.ToValidUTF8(string(text), "\uFFFD"))
}

func (o *output) cut() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.short
}

// pipe is one stream of a program. It never fails: a program must not notice that
// nobody listens.
type pipe struct {
	to   *output
	name string
	held []byte // since the last line feed
	kept []byte // the end of all
	lost bool   // kept is not all
}

// Write implements io.Writer. Whole lines become events, many at once.
func (p *pipe) Write(b []byte) (int, error) {
	if p.kept = append(p.kept, b...); len(p.kept) > keepOutput {
		p.kept, p.lost = append(p.kept[:0], p.kept[len(p.kept)-keepOutput:]...), true
	}
	p.held = append(p.held, b...)
	for len(p.held) > 0 {
		n := bytes.LastIndexByte(p.held[:min(len(p.held), maxChunk)], '\n') + 1
		if n == 0 {
			if len(p.held) < maxChunk {
				break
			}
			n = wholeRunes(p.held[:maxChunk])
		}
		p.to.emit(p.name, p.held[:n])
		p.held = append(p.held[:0], p.held[n:]...)
	}
	return len(b), nil
}

// wholeRunes is the length of b without a character that was cut at its end.
func wholeRunes(b []byte) int {
	for i := 1; i < utf8.UTFMax && i < len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

// end emits what no line feed followed.
func (p *pipe) end() {
	if len(p.held) > 0 {
		p.to.emit(p.name, p.held)
		p.held = nil
	}
}

func (p *pipe) tail() string { return strings.ToValidUTF8(string(p.kept), "\uFFFD") }
