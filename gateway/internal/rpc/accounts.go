package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of the two files of the accounts.
const (
	maxRegistryBytes = 4 << 20
	maxAccounts      = 1_000
	staleAfter       = time.Hour // of a usage report
)

// CodeAccountsCorrupt is the answer while the registry of accounts cannot be read.
const CodeAccountsCorrupt = "ACCOUNTS_FILE_INVALID"

// account is an entry of the registry, {"version":1,"accounts":[…]}, which the
// `smithers agent` command keeps. Of the key only its presence is ever told.
type account struct {
	Label     string `json:"label"`
	Provider  string `json:"provider"`
	ConfigDir string `json:"configDir"`
	APIKey    string `json:"apiKey"`
	Model     string `json:"model"`
	AddedAt   string `json:"addedAt"`
}

// subscription reports whether the account pays by a plan rather than by the call.
func (a *account) subscription() bool {
	switch a.Provider {
	case "anthropic-api", "openai-api", "gemini-api":
		return false
	}
	return true
}

// accounts reads the registry. Entries without a label or of an unknown provider are
// left out.
func (r *Router) accounts() ([]account, error) {
	var file struct {
		Accounts []account `json:"accounts"`
	}
	if err := readRegistry(r.deps.Accounts, &file); err != nil {
		r.deps.Logger.Warn("the registry of accounts cannot be read")
		return nil, wire.Errorf(CodeAccountsCorrupt, "The registry of accounts is unreadable or corrupt and was left untouched.")
	}
	known := slices.DeleteFunc(file.Accounts, func(a account) bool {
		return a.Label == "" || !slices.Contains(wire.Providers(), a.Provider)
	})
	return known[:min(len(known), maxAccounts)], nil
}

// readRegistry decodes a JSON file; a missing one, or no path at all, leaves into as
// it is. The error tells nothing of what the file holds: that may be a key.
func readRegistry(path string, into any) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // reading only
	data, err := io.ReadAll(io.LimitReader(f, maxRegistryBytes+1))
	if err != nil {
		return err
	}
	if len(data) > maxRegistryBytes || json.Unmarshal(data, into) != nil {
		return fmt.Errorf("%s is not what it should be", path)
	}
	return nil
}

func (r *Router) listAccounts(context.Context, *Call, params) (any, error) {
	accounts, err := r.accounts()
	rows := []wire.AccountRow{}
	for _, a := range accounts {
		rows = append(rows, wire.AccountRow{Label: a.Label, Provider: a.Provider, ConfigDir: optional(a.ConfigDir),
			HasConfigDir: a.ConfigDir != "", HasAPIKey: a.APIKey != "", Model: optional(a.Model), AddedAt: optional(a.AddedAt)})
	}
	return rows, err
}

// listUsageReports shows one report an account, from the file that whoever asks the
// providers keeps up to date: {"version":1,"reports":[…]}. The gateway asks no
// provider by itself and so never needs a key. An account without a report gets one
// of source "none" that says so. fresh changes nothing: the file is read each time.
func (r *Router) listUsageReports(context.Context, *Call, params) (any, error) {
	accounts, err := r.accounts()
	if err != nil {
		return nil, err
	}
	var file struct {
		Reports []wire.UsageReport `json:"reports"`
	}
	unreadable := readRegistry(r.deps.Usage, &file) != nil
	if unreadable {
		file.Reports = nil // what was decoded before the error says nothing
	}
	now := r.now()
	reports := []wire.UsageReport{}
	for _, a := range accounts {
		mode := "api-key"
		if a.subscription() {
			mode = "subscription"
		}
		report := wire.UsageReport{Source: "none", FetchedAt: wire.ISO(now), Stale: true, Error: "no usage has been reported"}
		if unreadable {
			report.Error = "the usage file is unreadable"
		}
		for _, found := range file.Reports {
			if found.AccountLabel != a.Label {
				continue
			}
			report = found
			if at, err := time.Parse(time.RFC3339, found.FetchedAt); err != nil || now.Sub(at) > staleAfter {
				report.Stale = true
			}
			if !slices.Contains([]string{"oauth", "headers", "local", "none"}, report.Source) {
				report.Source = "local"
			}
		}
		report.AccountLabel, report.Provider, report.AuthMode = a.Label, a.Provider, mode
		reports = append(reports, report)
	}
	return reports, nil
}
