package host

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Bounds of the output.
const (
	maxLine   = 64 << 10 // bytes of a line; longer ones are cut into several
	maxJoined = 200      // lines that are taken together
	// joinWithin is how long the next line of a stack trace may take to arrive.
	joinWithin = 100 * time.Millisecond
	keptLines  = 20 // of the newest output, for the error of a process that did not start
)

// output writes what a process prints to the log: one entry a line, with the level
// that the line shows, stack traces as one entry.
type output struct {
	log     *zap.Logger
	repeats repeats

	mu   sync.Mutex
	last []string // newest lines
}

func (o *output) read(r io.Reader, isError bool) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewReaderSize(r, maxLine)
		for {
			line, err := in.ReadSlice('\n') // a full buffer is a line, too
			if len(line) > 0 {
				lines <- strings.TrimRight(string(line), "\r\n")
			}
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return
			}
		}
	}()
	o.join(lines, isError)
}

// join takes the lines of one stream until it ends.
func (o *output) join(lines <-chan string, isError bool) {
	var entry []string
	timer := time.NewTimer(joinWithin)
	timer.Stop()
	defer timer.Stop()
	flush := func() {
		o.write(entry, isError)
		entry = nil
	}
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				flush()
				return
			}
			o.keep(line)
			if len(entry) > 0 && (len(entry) >= maxJoined || !continues(entry, line)) {
				flush()
			}
			if line != "" || len(entry) > 0 {
				entry = append(entry, line)
			}
			timer.Reset(joinWithin)
		case <-timer.C:
			flush()
		}
	}
}

// keep remembers the newest lines.
func (o *output) keep(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == keptLines {
		o.last = append(o.last[:0], o.last[1:]...)
	}
	o.last = append(o.last, line)
}

// tail returns the newest lines.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.last, "\n")
}

func (o *output) write(entry []string, isError bool) {
	for len(entry) > 0 && strings.TrimSpace(entry[len(entry)-1]) == "" {
		entry = entry[:len(entry)-1]
	}
	if len(entry) == 0 {
		return
	}
	o.print(o.repeats.take(parseEntry(entry, isError)))
}

// end writes what was counted only, when a process has ended.
func (o *output) end() { o.print(o.repeats.end()) }

func (o *output) print(entries []logEntry) {
	for _, l := range entries {
		if ce := o.log.Check(l.level, l.message); ce != nil {
			ce.Write(l.fields...)
		}
	}
}
