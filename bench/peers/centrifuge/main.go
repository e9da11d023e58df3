// Command centrifuge is a Centrifuge node with the memory broker: one channel with
// history and recovery, JSON protocol, no compression, defaults otherwise, but for
// queues that take a whole burst, since its clients are cut off when theirs is full.
//
// With -write-delay it batches as its documentation advises for many messages to each
// client, and then without its limit of messages in a frame.
//
//	POST /emit?lines=N&bytes=B
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

const channel = "run"

// Settings of the node and of its history.
const (
	queueBytes  = 64 << 20
	historySize = 10_000 // the gateway's window
	historyTTL  = 10 * time.Minute
)

func main() {
	writeDelay := flag.Duration("write-delay", 0, "collect messages to a client for so `long`")
	flag.Parse()
	if err := serve(*writeDelay); err != nil {
		fmt.Fprintln(os.Stderr, "centrifuge:", err)
		os.Exit(1)
	}
}

func serve(writeDelay time.Duration) error {
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: queueBytes})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		reply := centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "bench"}, WriteDelay: writeDelay}
		if writeDelay > 0 {
			reply.MaxMessagesInFrame = -1
		}
		return reply, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: true, EnablePositioning: true}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /emit", emitter(node))
	mux.Handle("GET /", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true, CheckOrigin: func(*http.Request) bool { return true },
	}))
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
}

const head = `{"type":"RunEvent","event":"task.output","output":"`

// emitter publishes bursts. A publication is counted from 1, as the offset is.
func emitter(node *centrifuge.Node) http.HandlerFunc {
	next := 1
	return func(w http.ResponseWriter, r *http.Request) {
		lines, _ := strconv.Atoi(r.FormValue("lines"))
		size, _ := strconv.Atoi(r.FormValue("bytes"))
		const around = len(`{"push":{"channel":"run","pub":{"data":,"offset":12345}}}`) + len(`","seq":12345}`)
		start := head + strings.Repeat("x", max(0, size-len(head)-around)) + `","seq":`
		first := next
		next += lines
		go func() {
			for i := range lines {
				data := append(make([]byte, 0, len(start)+8), start...)
				data = append(strconv.AppendInt(data, int64(first+i), 10), '}')
				if _, err := node.Publish(channel, data, centrifuge.WithHistory(historySize, historyTTL)); err != nil {
					fmt.Fprintln(os.Stderr, "publish:", err)
				}
			}
		}()
		w.WriteHeader(http.StatusAccepted)
	}
}
