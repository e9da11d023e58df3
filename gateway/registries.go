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
	registryFolder = ".smithers"
	accountsFile   = "accounts.json"
	usageFile      = "usage.json"
)

// withRegistries tells the methods where prompts and accounts are.
func (r *running) withRegistries(d rpc.Deps) rpc.Deps {
	d.Workspace = func() string {
		if s := r.g.settings.Load(); s != nil {
			return s.workspaceRoot()
		}
		return ""
	}
	if home, err := os.UserHomeDir(); err == nil {
		d.Accounts = filepath.Join(home, registryFolder, accountsFile)
		d.Usage = filepath.Join(home, registryFolder, usageFile)
	}
	return d
}
