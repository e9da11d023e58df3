package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/caddyserver/xcaddy"
)

var majorSuffix = regexp.MustCompile(`(?:/v|^gopkg\.in/.*\.v)(\d+)$`)

// localVersion is how the go command writes the version of a module that only a
// replace line provides.
func localVersion(module string) string {
	major := "0"
	if m := majorSuffix.FindStringSubmatch(module); m != nil {
		major = m[1]
	}
	return "v" + major + ".0.0-00010101000000-000000000000"
}

var tempFolder = regexp.MustCompile(`\[INFO\] Temporary folder: (.+)$`)

// seeder writes this checkout's requirements and checksums into the module that
// xcaddy makes, before xcaddy resolves anything. Without it xcaddy asks the proxy
// for the newest version of every import, and for this very module and plugins from
// a folder, which the proxy need not know. Plugins may still raise a version; nothing
// else can.
type seeder struct {
	ctx     context.Context
	co      *checkout
	plugins []plugin
	folder  string
}

// line learns the folder from what xcaddy prints.
func (s *seeder) line(text string) {
	if m := tempFolder.FindStringSubmatch(text); m != nil {
		s.folder = m[1]
	}
}

// after runs when a step's output has ended, before the next step begins.
func (s *seeder) after(step xcaddy.Step) error {
	if step != xcaddy.StepInitializeModule {
		return nil
	}
	if s.folder == "" {
		return errors.New("xcaddy did not say where its build module is")
	}
	args := []string{"mod", "edit", "-require=" + modulePath + "@" + localVersion(modulePath)}
	for _, p := range s.plugins {
		if p.path != "" {
			args = append(args, "-require="+p.module+"@"+p.version)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(s.co.versions)) {
		args = append(args, "-require="+path+"@"+s.co.versions[path])
	}
	cmd := exec.CommandContext(s.ctx, "go", args...)
	cmd.Dir = s.folder
	cmd.Env = buildEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pinning versions: %w\n%s", err, bytes.TrimSpace(out))
	}
	sums, err := os.ReadFile(filepath.Join(s.co.root, "go.sum"))
	if err != nil {
		return fmt.Errorf("pinning checksums: %w", err)
	}
	return os.WriteFile(filepath.Join(s.folder, "go.sum"), sums, 0o644)
}
