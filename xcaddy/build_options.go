package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/caddyserver/xcaddy"
)

// plugin is one --with MODULE[@VERSION][=PATH].
type plugin struct {
	module  string
	version string // "": the newest
	path    string // absolute; "": from the proxy
}

func (p plugin) String() string {
	switch {
	case p.path != "":
		return p.module + "=" + p.path
	case p.version != "":
		return p.module + "@" + p.version
	}
	return p.module
}

// parsePlugin reads the value of --with. A relative path counts from the current
// folder; one without a leading dot or slash would read as a module path to the
// go command, so all are made absolute.
func parsePlugin(text string) (plugin, error) {
	spec, path, replaced := strings.Cut(text, "=")
	module, version, versioned := strings.Cut(spec, "@")
	switch {
	case module == "" || strings.ContainsAny(module, " \t"):
		return plugin{}, usagef("--with %q: want MODULE[@VERSION][=PATH]", text)
	case versioned && version == "":
		return plugin{}, usagef("--with %q: no version after @", text)
	case replaced && path == "":
		return plugin{}, usagef("--with %q: no path after =", text)
	case module == pluginPath || module == modulePath:
		return plugin{}, usagef("--with %s: the gateway is always part of the build", module)
	}
	p := plugin{module: module, version: version}
	if replaced {
		abs, err := filepath.Abs(path)
		if err != nil {
			return plugin{}, err
		}
		if _, err := os.Stat(filepath.Join(abs, "go.mod")); err != nil {
			return plugin{}, usagef("--with %q: %s holds no go.mod", text, path)
		}
		p.path = abs
		if p.version == "" {
			p.version = localVersion(module)
		}
	}
	return p, nil
}

// buildOptions says what to build. The zero value is the default build for this
// machine.
type buildOptions struct {
	plugins  []plugin
	output   string // "": bin/smithers-gateway of the checkout
	platform xcaddy.Platform
	version  string // what the gateway calls itself; "": the default in the source
	plain    bool   // go build only
}

func hostPlatform() xcaddy.Platform {
	return xcaddy.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
}

// versionText keeps the linker flags that carry the version to one word.
var versionText = regexp.MustCompile(`^[0-9A-Za-z.+_-]{0,64}$`)

const buildAbout = `Compile the gateway from this checkout with the xcaddy library: Caddy, the standard
modules, the smithers module and every --with, in one static binary.

Usage: go run ./xcaddy build [options]

Example: go run ./xcaddy build --with github.com/mholt/caddy-l4 --with example.com/mine=../mine`

func buildCommand(ctx context.Context, c *console, args []string) error {
	o, err := parseBuild(c, args)
	if err != nil {
		return err
	}
	co, err := findCheckout(ctx, ".")
	if err != nil {
		return err
	}
	_, err = build(ctx, c, co, o)
	return err
}

// parseBuild reads the arguments of build.
func parseBuild(c *console, args []string) (buildOptions, error) {
	o := buildOptions{platform: hostPlatform()}
	fs := newFlags(c, "build", buildAbout)
	fs.Func("with", "add `MODULE[@VERSION][=PATH]`, a Caddy plugin or a Go workflow; may be repeated", func(v string) error {
		p, err := parsePlugin(v)
		o.plugins = append(o.plugins, p)
		return err
	})
	fs.StringVar(&o.output, "output", "", "write the binary to `FILE` (default bin/smithers-gateway)")
	fs.StringVar(&o.platform.OS, "os", runtime.GOOS, "build for this operating `system`")
	fs.StringVar(&o.platform.Arch, "arch", runtime.GOARCH, "build for this processor `architecture`")
	fs.StringVar(&o.version, "version", "", "the `version` the gateway reports in /health and hello (default: the one in the source)")
	fs.BoolVar(&o.plain, "plain", false, "use go build alone: no temporary module, no look at the module proxy")
	if err := parse(fs, args); err != nil {
		return o, err
	}
	switch {
	case o.plain && len(o.plugins) > 0:
		return o, usagef("build: --plain builds exactly this checkout; it cannot be combined with --with")
	case !versionText.MatchString(o.version):
		return o, usagef("build: --version %q: use letters, digits, dots, plus and minus signs", o.version)
	}
	return o, nil
}
