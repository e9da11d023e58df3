package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

var unitLine = regexp.MustCompile(`(?m)^BenchmarkUnit/(\d+)\S*\s+\d+\s+(\d+(?:\.\d+)?) ns/op`)

// sqliteSpike measures the gateway's own store, which only its tests can reach: a Go
// benchmark of it writes the same units, in the same temporary folder.
func sqliteSpike(ctx context.Context, folder string, took time.Duration) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "-", "-bench", "^BenchmarkUnit$", "-benchtime", took.String(), "./gateway/internal/store")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "TMPDIR="+folder)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("the store's benchmark: %w\n%s%s", err, out, stderr.Bytes())
	}
	found := unitLine.FindAllSubmatch(out, -1)
	if len(found) != 2 {
		return fmt.Errorf("the store's benchmark says something else: %s", out)
	}
	for _, m := range found {
		each, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return err
		}
		if string(m[1]) == "1" {
			row("The gateway's store (SQLite, synchronous=FULL), one unit after the other", "%.0f units/s, %.2f ms each", 1e9/each, each/1e6)
		} else {
			row(fmt.Sprintf("The gateway's store (SQLite, synchronous=FULL), %s units at a time", m[1]), "%.0f units/s", 1e9/each)
		}
	}
	return nil
}
