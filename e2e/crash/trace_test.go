package crash

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// What a traced system call did, as far as durability is concerned.
type act int

const (
	logWrite    act = iota // bytes written to the write-ahead log, at the end of the call
	logSync                // a data sync of it: begin and end
	socketWrite            // bytes handed to a client, at the begin of the call
	socketRead             // bytes taken from a client, at the end of the call
)

// call is one system call; begin and end are positions in the trace.
type call struct {
	act        act
	begin, end int
	data       string
	failed     bool
}

var (
	lineBegin = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$`)
	lineEnd   = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
)

// readTrace reads the output of strace -f -y: system calls of all threads in the
// order in which they happened, those that overlap others in two lines.
func readTrace(r io.Reader) ([]call, error) {
	var calls []call
	open := map[string]int{} // thread: its unfinished call in calls
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 64<<20)
	for n := 0; scanner.Scan(); n++ {
		line := scanner.Text()
		if m := lineEnd.FindStringSubmatch(line); m != nil {
			if i, ok := open[m[1]]; ok {
				calls[i].end = n
				calls[i].data += m[3]
				calls[i].failed = failed(m[3])
				delete(open, m[1])
			}
			continue
		}
		m := lineBegin.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		what, ok := actOf(m[2], m[3])
		if !ok {
			continue
		}
		calls = append(calls, call{act: what, begin: n, end: n, data: m[4], failed: failed(m[4])})
		if strings.HasSuffix(line, "<unfinished ...>") {
			open[m[1]] = len(calls) - 1
		}
	}
	return calls, scanner.Err()
}

func failed(rest string) bool { return strings.Contains(rest, ") = -1 ") }

func actOf(name, file string) (act, bool) {
	socket := strings.HasPrefix(file, "socket:") || strings.HasPrefix(file, "TCP")
	wal := strings.HasSuffix(file, "-wal")
	switch name {
	case "pwrite64", "pwritev", "write", "writev":
		if wal {
			return logWrite, true
		}
		if socket {
			return socketWrite, true
		}
	case "sendto", "sendmsg":
		return socketWrite, socket
	case "read", "recvfrom":
		return socketRead, socket
	case "fsync", "fdatasync":
		return logSync, wal
	}
	return 0, false
}

// after finds the first successful call of a kind behind a position whose data has
// the text.
func after(calls []call, what act, position int, text string) (call, bool) {
	for _, c := range calls {
		if c.act == what && c.begin > position && !c.failed && strings.Contains(c.data, text) {
			return c, true
		}
	}
	return call{}, false
}

// durable checks one fact: stored is a text that only the fact's rows have, shown a
// text that only the bytes have that tell a client of it, asked a text of the request
// that caused it ("": nobody asked). The log write must come first, then a complete
// sync, then the client.
func durable(calls []call, asked, stored, shown string) error {
	from := -1
	if asked != "" {
		request, ok := after(calls, socketRead, from, asked)
		if !ok {
			return fmt.Errorf("%q was never asked", asked)
		}
		from = request.end
	}
	sent, ok := after(calls, socketWrite, from, shown)
	if !ok {
		return fmt.Errorf("%q was never sent", shown)
	}
	written, ok := after(calls, logWrite, from, stored)
	if !ok {
		return fmt.Errorf("%q was never written", stored)
	}
	sync, ok := after(calls, logSync, written.end, "")
	if !ok {
		return fmt.Errorf("no sync after %q was written", stored)
	}
	if sync.end >= sent.begin {
		return fmt.Errorf("%q was sent at line %d, but written at %d and synced at %d", shown, sent.begin+1, written.end+1, sync.end+1)
	}
	return nil
}
