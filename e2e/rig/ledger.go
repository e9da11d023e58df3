package rig

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Kinds of ledger entries.
const (
	EntryTask  = "task"  // a task body ran
	EntryAck   = "ack"   // the gateway acknowledged a request
	EntryEvent = "event" // a client received an event
	EntryGap   = "gap"   // a client was told of a gap
	EntryKill  = "kill"  // the gateway was killed
)

// Entry is one line of the ledger. Which fields count depends on Kind.
type Entry struct {
	N    int    `json:"n"` // its number: the order in which things were seen
	Kind string `json:"kind"`
	Run  string `json:"run,omitempty"`
	Node string `json:"node,omitempty"`
	// Iteration and Attempt are those a task body was told, or an event's.
	Iteration int `json:"iteration,omitempty"`
	Attempt   int `json:"attempt,omitempty"`

	Method string `json:"method,omitempty"` // of an acknowledged request
	Value  string `json:"value,omitempty"`  // what was acknowledged: a decision, a payload, an outcome

	Follower     string          `json:"follower,omitempty"`
	Seq          int64           `json:"seq,omitempty"`
	StateVersion int64           `json:"stateVersion,omitempty"`
	Event        string          `json:"event,omitempty"`
	Payload      json.RawMessage `json:"payload,omitempty"`
}

// Ledger is a file of entries outside the gateway, synced line by line, and the HTTP
// server through which task bodies write to it.
type Ledger struct {
	URL string

	t       *testing.T
	answer  func(Entry) any
	mu      sync.Mutex
	file    *os.File
	entries []Entry
}

// NewLedger opens a ledger in dir and its server, which end with the test. answer, if
// not nil, makes the answer to a task and may block; else it is {"done":true}. Task bodies
// GET URL?key=…&attempt=… with the idempotency key and the attempt they were given.
func NewLedger(t *testing.T, dir string, answer func(Entry) any) *Ledger {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "ledger.jsonl"))
	require.NoError(t, err)
	l := &Ledger{t: t, file: file, answer: answer}
	srv := httptest.NewServer(l)
	l.URL = srv.URL
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		require.NoError(t, file.Close())
	})
	return l
}

// Add writes an entry and returns its number.
func (l *Ledger) Add(e Entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.N = len(l.entries)
	line, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	// What a task or a client saw must not be forgotten by the judge either.
	if err == nil && e.Kind != EntryEvent {
		err = l.file.Sync()
	}
	if err != nil {
		l.t.Errorf("ledger: %v", err)
	}
	l.entries = append(l.entries, e)
	return e.N
}

// Entries returns what was written so far.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Entry(nil), l.entries...)
}

// Len is how many entries there are.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// Tasks counts the runs of task bodies of a node.
func (l *Ledger) Tasks(run, node string) int {
	n := 0
	for _, e := range l.Entries() {
		if e.Kind == EntryTask && e.Run == run && e.Node == node {
			n++
		}
	}
	return n
}

func (l *Ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, err := taskEntry(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.N = l.Add(e)
	var body any = map[string]any{"done": true}
	if l.answer != nil {
		body = l.answer(e)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a task that was killed does not listen
}

// taskEntry reads what a task body says of itself. Its key is "run/node/iteration".
func taskEntry(q url.Values) (Entry, error) {
	parts := strings.Split(q.Get("key"), "/")
	if len(parts) != 3 {
		return Entry{}, fmt.Errorf("key: %q", q.Get("key"))
	}
	iteration, err := strconv.Atoi(parts[2])
	if err != nil {
		return Entry{}, fmt.Errorf("key: %w", err)
	}
	attempt, err := strconv.Atoi(q.Get("attempt"))
	if err != nil {
		return Entry{}, fmt.Errorf("attempt: %w", err)
	}
	return Entry{Kind: EntryTask, Run: parts[0], Node: parts[1], Iteration: iteration, Attempt: attempt}, nil
}
