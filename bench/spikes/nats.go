package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsSpike keeps the events of runs in a stream: one subject a run, the newest 10,000
// of each, as event_window does.
func natsSpike(ctx context.Context, binary, folder string, took time.Duration) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	server := exec.CommandContext(ctx, binary, "-js", "-a", "127.0.0.1", "-p", strconv.Itoa(port), "-sd", filepath.Join(folder, "js"))
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	var c *nats.Conn
	for c == nil && ctx.Err() == nil {
		if c, err = nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port)); err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if c == nil {
		return errors.Join(ctx.Err(), err)
	}
	defer c.Close()
	js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		return err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"run.*"},
		Storage: jetstream.FileStorage, MaxMsgsPerSubject: 10_000})
	if err != nil {
		return err
	}
	lone, err := rate(took, 1, func(n int) error {
		_, err := js.Publish(ctx, fmt.Sprintf("run.%d", n%16), payload)
		return err
	})
	if err != nil {
		return err
	}
	row("JetStream, an event acknowledged before the next", "%.0f events/s, %.2f ms each", lone, 1000/lone)
	const many = 4096
	async, err := rate(took, many, func(int) error {
		for i := range many {
			if _, err := js.PublishAsync(fmt.Sprintf("run.%d", i%16), payload); err != nil {
				return err
			}
		}
		select {
		case <-js.PublishAsyncComplete():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return err
	}
	row("JetStream, 4,096 events in flight", "%.0f events/s", async)
	return replay(ctx, stream)
}

// replay reads the window of one run from its beginning, as a client that comes back.
func replay(ctx context.Context, stream jetstream.Stream) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("run.1"))
	if err != nil {
		return err
	}
	want := int(info.State.Subjects["run.1"])
	begin := time.Now()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"run.1"}})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1000))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for range want {
		if _, err := messages.Next(); err != nil {
			return err
		}
	}
	row(fmt.Sprintf("JetStream, replay of a run's window (%d events)", want), "%.0f events/s", float64(want)/time.Since(begin).Seconds())
	return nil
}
