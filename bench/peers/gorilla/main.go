// Command gorilla is the limit: a server that holds nothing, keeps nothing, and writes
// frames of a run.event's shape and length to all sockets, with gorilla/websocket and
// writes coalesced into few system calls. Nothing that does more can be faster with the
// same library.
//
//	POST /emit?lines=N&bytes=B
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// flush is when collected frames are written.
const flush = 64 << 10

// coalesced collects what the library writes.
type coalesced struct {
	net.Conn
	w *bufio.Writer
}

func (c coalesced) Write(b []byte) (int, error) { return c.w.Write(b) }

type peer struct {
	ws   *websocket.Conn
	out  coalesced
	busy *sync.Mutex // of the burst that is being written
}

type server struct {
	mu    sync.Mutex
	peers []peer
	next  int // number of the next frame
}

func main() {
	s := &server{next: 1}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /emit", s.emit)
	mux.HandleFunc("GET /", s.join)
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux); err != nil {
		fmt.Fprintln(os.Stderr, "gorilla:", err)
		os.Exit(1)
	}
}

// hijacked hands the library a connection that collects writes.
type hijacked struct {
	http.ResponseWriter
	out *coalesced
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := h.ResponseWriter.(http.Hijacker).Hijack()
	if err == nil {
		*h.out = coalesced{conn, bufio.NewWriterSize(conn, flush)}
		conn = *h.out
	}
	return conn, rw, err
}

var upgrader = websocket.Upgrader{WriteBufferPool: new(sync.Pool)}

func (s *server) join(w http.ResponseWriter, r *http.Request) {
	var out coalesced
	ws, err := upgrader.Upgrade(hijacked{w, &out}, r, nil)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.peers = append(s.peers, peer{ws, out, new(sync.Mutex)})
	s.mu.Unlock()
	if err := out.w.Flush(); err != nil { // only now may the client ask for frames
		return
	}
	for {
		if _, _, err := ws.NextReader(); err != nil {
			s.leave(ws)
			return
		}
	}
}

func (s *server) leave(ws *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.peers {
		if p.ws == ws {
			s.peers = append(s.peers[:i], s.peers[i+1:]...)
			break
		}
	}
	_ = ws.Close()
}

const head = `{"type":"event","event":"run.event","payload":{"event":"task.output","output":"`

func (s *server) emit(w http.ResponseWriter, r *http.Request) {
	lines, _ := strconv.Atoi(r.FormValue("lines"))
	size, _ := strconv.Atoi(r.FormValue("bytes"))
	s.mu.Lock()
	first, peers := s.next, append([]peer(nil), s.peers...)
	s.next += lines
	s.mu.Unlock()
	start := head + strings.Repeat("x", max(0, size-len(head)-len(`","seq":12345}}`))) + `","seq":`
	for _, p := range peers {
		go p.write(start, first, lines)
	}
	w.WriteHeader(http.StatusAccepted)
}

func (p peer) write(start string, first, lines int) {
	p.busy.Lock()
	defer p.busy.Unlock()
	frame := []byte(start)
	for i := range lines {
		frame = append(strconv.AppendInt(frame[:len(start)], int64(first+i), 10), "}}"...)
		if p.ws.WriteMessage(websocket.TextMessage, frame) != nil {
			return
		}
	}
	_ = p.out.w.Flush()
}
