package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const runtimeName = "bun"

// findRuntime returns the path of Bun: the command that was named, else the one that
// is installed with the module, in its folder or one above, else the one on PATH.
func findRuntime(command, module string) (string, error) {
	if command != "" {
		path, err := exec.LookPath(command)
		if err != nil {
			return "", fmt.Errorf("%w: runtime_command is %q: %w", ErrNoRuntime, command, err)
		}
		return filepath.Abs(path)
	}
	var looked []string
	for dir := filepath.Dir(module); ; dir = filepath.Dir(dir) {
		for _, candidate := range candidates(filepath.Join(dir, "node_modules")) {
			if st, err := os.Stat(candidate); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
				return candidate, nil
			}
		}
		looked = append(looked, filepath.Join(dir, "node_modules", ".bin", runtimeName))
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if path, err := exec.LookPath(runtimeName); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%w. Looked for %s and for %s on PATH (%s). Run `npm install bun` in %s, or name an installed Bun with runtime_command",
		ErrNoRuntime, strings.Join(short(looked), ", "), runtimeName, os.Getenv("PATH"), filepath.Dir(module))
}

// candidates lists where the npm package bun may have its program. The package of the
// platform comes first: it holds the program until a script of the other has moved it,
// and package managers may be told to run no scripts.
func candidates(modules string) []string {
	system := "bun-" + runtime.GOOS + "-" + map[string]string{"amd64": "x64", "arm64": "aarch64"}[runtime.GOARCH]
	names := []string{system, system + "-baseline"}
	if musl, _ := filepath.Glob("/lib/ld-musl-*"); len(musl) > 0 {
		names = []string{system + "-musl", system + "-musl-baseline"}
	}
	paths := make([]string, 0, len(names)+1)
	for _, name := range names {
		paths = append(paths, filepath.Join(modules, "@oven", name, "bin", runtimeName))
	}
	return append(paths, filepath.Join(modules, ".bin", runtimeName))
}

// short keeps an error readable when the module lies deep.
func short(paths []string) []string {
	if len(paths) > 3 {
		return append(paths[:2:2], "… and in the folders above")
	}
	return paths
}
