package gateway

import (
	"os"
	"path/filepath"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
)

// Files below the home folder of the gateway's user that tell of accounts of model
// providers. The first is kept by `smithers agent`, the second by whoever asks the
// providers what is used.
const (
	envSmithersHome = "SMITHERS_HOME" // names the folder itself
	registryFolder  = ".smithers"
	accountsFile    = "accounts.json"
	usageFile       = "usage.json"
)

// withRegistries tells the methods where prompts and accounts are.
func (r *running) withRegistries(d rpc.Deps) rpc.Deps {
	d.Workspace = func() string {
		if s := r.g.settings.Load(); s != nil {
			return s.workspaceRoot()
		}
		return ""
	}
	if root := registryRoot(); root != "" {
		d.Accounts, d.Usage = filepath.Join(root, accountsFile), filepath.Join(root, usageFile)
	}
	return d
}

// registryRoot is where Smithers keeps what belongs to a user; "" without a home.
func registryRoot() string {
	if root := os.Getenv(envSmithersHome); root != "" {
		return root
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, registryFolder)
}
