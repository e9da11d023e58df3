package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/smithersai/caddy-smithers/gateway"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// maxAdminBody bounds the body of an admin request.
const maxAdminBody = 64 << 10

// adminAPI adds to Caddy's admin endpoint:
//
//	GET  /smithers/gateways  every gateway of the process: its database, whether it is
//	                         ready, its health with figures and limits
//	POST /smithers/reload    loads the workflow modules anew, as a config reload does;
//	                         one that cannot be used is an error and changes nothing
//	POST /smithers/backup    copies a database while it works:
//	                         {"destination":"/backups/smithers.db","db_path":"..."};
//	                         db_path may be absent when there is one gateway
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.smithers",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes lists the routes of the admin API.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/smithers/gateways", Handler: only(http.MethodGet, adminGateways)},
		{Pattern: "/smithers/reload", Handler: only(http.MethodPost, adminReload)},
		{Pattern: "/smithers/backup", Handler: only(http.MethodPost, adminBackup)},
	}
}

func only(method string, f caddy.AdminHandlerFunc) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			return refuse(http.StatusMethodNotAllowed, "%s %s: use %s", r.Method, r.URL.Path, method)
		}
		return f(w, r)
	}
}

func refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// gatewayStatus is one gateway as GET /smithers/gateways shows it.
type gatewayStatus struct {
	DBPath string               `json:"db_path"`
	Ready  bool                 `json:"ready"`
	Reason string               `json:"reason,omitempty"` // why it is not ready
	Health gateway.HealthReport `json:"health"`
}

func adminGateways(w http.ResponseWriter, _ *http.Request) error {
	all := []gatewayStatus{}
	for _, s := range pool.sorted() {
		status := gatewayStatus{DBPath: s.key, Ready: true, Health: s.gateway.Health()}
		if err := s.gateway.Ready(); err != nil {
			status.Ready, status.Reason = false, err.Error()
		}
		all = append(all, status)
	}
	return answer(w, all)
}

func adminReload(w http.ResponseWriter, _ *http.Request) error {
	active, err := caddy.ActiveContext().AppIfConfigured("smithers")
	if err != nil {
		return refuse(http.StatusConflict, "no gateway is configured")
	}
	reloaded, err := active.(*App).reapply()
	if err != nil {
		return refuse(http.StatusUnprocessableEntity, "%w", err)
	}
	return answer(w, map[string]any{"reloaded": reloaded})
}

func adminBackup(w http.ResponseWriter, r *http.Request) error {
	var request struct {
		Destination string `json:"destination"`
		DBPath      string `json:"db_path"`
	}
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxAdminBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return refuse(http.StatusBadRequest, "body: %w", err)
	}
	if !filepath.IsAbs(request.Destination) {
		return refuse(http.StatusBadRequest, "destination: %q is not an absolute path", request.Destination)
	}
	s, err := pool.pick(request.DBPath)
	if err != nil {
		return refuse(http.StatusNotFound, "%w", err)
	}
	if err := s.gateway.Backup(r.Context(), request.Destination, nil); err != nil {
		return refuse(http.StatusInternalServerError, "%w", err)
	}
	files := gateway.BackupFiles(request.Destination)
	var bytes int64
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		bytes += info.Size()
	}
	return answer(w, map[string]any{"db_path": s.key, "destination": request.Destination, "files": files, "bytes": bytes})
}

// sorted lists the gateways by path.
func (p *gatewayPool) sorted() []*shared {
	var all []*shared
	p.each(func(s *shared) bool {
		all = append(all, s)
		return true
	})
	slices.SortFunc(all, func(a, b *shared) int { return strings.Compare(a.key, b.key) })
	return all
}

// pick finds the gateway of a database, or the only one.
func (p *gatewayPool) pick(path string) (*shared, error) {
	all := p.sorted()
	if path == "" {
		if len(all) == 1 {
			return all[0], nil
		}
		return nil, fmt.Errorf("there are %d gateways: say which with db_path", len(all))
	}
	key, err := identity(path)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.key == key {
			return s, nil
		}
	}
	return nil, errors.New("no gateway works on " + path)
}

func answer(w http.ResponseWriter, body any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(body)
}

// Interface guards.
var _ caddy.AdminRouter = adminAPI{}
