package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// units are rates of one round, in units a second.
type units struct{ lone, many float64 }

var unitLine = regexp.MustCompile(`(?m)^BenchmarkUnit/(\d+)\S*\s+\d+\s+(\d+(?:\.\d+)?) ns/op`)

// storeSpike measures the gateway's own store, which only its tests can reach: a Go
// benchmark of it writes the units, in the same temporary folder as the servers.
type storeSpike struct{ folder, program string }

func openStore(ctx context.Context, folder string) (*storeSpike, error) {
	s := &storeSpike{folder: folder, program: filepath.Join(folder, "store.test")}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", s.program, "./gateway/internal/store")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the store's benchmark: %w\n%s", err, out)
	}
	return s, nil
}

func (s *storeSpike) measure(ctx context.Context, took time.Duration) (u units, err error) {
	cmd := exec.CommandContext(ctx, s.program, "-test.run", "-", "-test.bench", "^BenchmarkUnit$", "-test.benchtime", took.String())
	cmd.Dir = s.folder
	cmd.Env = append(os.Environ(), "TMPDIR="+s.folder)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return u, fmt.Errorf("the store's benchmark: %w\n%s%s", err, out, stderr.Bytes())
	}
	for _, m := range unitLine.FindAllSubmatch(out, -1) {
		each, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return u, err
		}
		if string(m[1]) == "1" {
			u.lone = 1e9 / each
		} else {
			u.many = 1e9 / each
		}
	}
	if u.lone == 0 || u.many == 0 {
		return u, fmt.Errorf("the store's benchmark says something else: %s", out)
	}
	return u, nil
}
