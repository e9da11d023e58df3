package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

const (
	modulePath  = "github.com/smithersai/caddy-smithers"
	caddyPath   = "github.com/caddyserver/caddy/v2"
	pluginPath  = modulePath + "/caddymodule"
	plainTarget = "./xcaddy/smithers-gateway"
)

var moduleLine = regexp.MustCompile(`(?m)^module\s+"?` + regexp.QuoteMeta(modulePath) + `"?\s*$`)

// checkout is a folder that holds this module's go.mod.
type checkout struct {
	root     string
	versions map[string]string // module path to the version go.mod requires
}

// findCheckout looks for the module in dir and the folders above it.
func findCheckout(ctx context.Context, dir string) (*checkout, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for at := dir; ; {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && moduleLine.Match(text) {
			return openCheckout(ctx, at)
		}
		up := filepath.Dir(at)
		if up == at {
			return nil, fmt.Errorf("%s is not inside a checkout of %s", dir, modulePath)
		}
		at = up
	}
}

func openCheckout(ctx context.Context, root string) (*checkout, error) {
	versions, err := requirements(ctx, filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	if versions[caddyPath] == "" {
		return nil, fmt.Errorf("%s does not require %s", filepath.Join(root, "go.mod"), caddyPath)
	}
	return &checkout{root: root, versions: versions}, nil
}

// binary is where build puts its result unless told otherwise.
func (c *checkout) binary() string {
	name := "smithers-gateway"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(c.root, "bin", name)
}

// requirements reads the require lines of a go.mod file, without the network.
func requirements(ctx context.Context, gomod string) (map[string]string, error) {
	out, err := goOutput(ctx, filepath.Dir(gomod), "mod", "edit", "-json", gomod)
	if err != nil {
		return nil, err
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &file); err != nil {
		return nil, fmt.Errorf("reading %s: %w", gomod, err)
	}
	versions := make(map[string]string, len(file.Require))
	for _, r := range file.Require {
		versions[r.Path] = r.Version
	}
	return versions, nil
}

// goOutput runs the go command in dir and returns what it wrote to stdout.
func goOutput(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("the go command is not on PATH; see https://go.dev/doc/install")
		}
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
