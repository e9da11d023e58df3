package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// admin calls a route of the admin API as Caddy does.
func admin(t *testing.T, method, path, body string, into any) (status int, err error) {
	t.Helper()
	for _, route := range (adminAPI{}).Routes() {
		if route.Pattern != path {
			continue
		}
		w := httptest.NewRecorder()
		err := route.Handler.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if err != nil {
			var refused caddy.APIError
			require.ErrorAs(t, err, &refused)
			return refused.HTTPStatus, refused.Err
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
		return w.Code, nil
	}
	t.Fatalf("no route %s", path)
	return 0, nil
}

func TestAdminAPI(t *testing.T) {
	s := newSite(t)
	var none []gatewayStatus
	_, err := admin(t, http.MethodGet, "/smithers/gateways", "", &none)
	require.NoError(t, err)
	require.Empty(t, none)
	status, err := admin(t, http.MethodPost, "/smithers/backup", `{"destination":"/tmp/x"}`, nil)
	require.Equal(t, http.StatusNotFound, status)
	require.ErrorContains(t, err, "there are 0 gateways")
	status, err = admin(t, http.MethodPost, "/smithers/reload", "", nil)
	require.Equal(t, http.StatusConflict, status)
	require.ErrorContains(t, err, "no gateway is configured")

	module := s.dir + "/gateway.mjs"
	require.NoError(t, os.WriteFile(module, []byte(`export function register(g) { g.register("first", async () => 1); }`), 0o600))
	s.mustLoad(nil)
	run := s.parkedRun(s.client(aliceToken))

	var all []gatewayStatus
	_, err = admin(t, http.MethodGet, "/smithers/gateways", "", &all)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.True(t, all[0].Ready)
	require.Equal(t, 2, all[0].Health.Module.Workflows)

	// The module changes, then breaks.
	require.NoError(t, os.WriteFile(module, []byte(`export function register(g) { g.register("first", async () => 1); g.register("second", async () => 2); }`), 0o600))
	var reloaded struct{ Reloaded []string }
	_, err = admin(t, http.MethodPost, "/smithers/reload", "", &reloaded)
	require.NoError(t, err)
	require.Len(t, reloaded.Reloaded, 1)
	_, err = s.client(aliceToken).Launch(s.context(), "second", nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(module, []byte(`export function register(g) { throw new Error("not today"); }`), 0o600))
	status, err = admin(t, http.MethodPost, "/smithers/reload", "", nil)
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.ErrorContains(t, err, "not today")
	_, err = s.client(aliceToken).Launch(s.context(), "second", nil)
	require.NoError(t, err)

	// A copy of the working database has the run.
	var copied struct{ Bytes int64 }
	body, err := json.Marshal(map[string]string{"destination": s.dir + "/copy.db", "db_path": s.dir + "/runs.db"})
	require.NoError(t, err)
	_, err = admin(t, http.MethodPost, "/smithers/backup", string(body), &copied)
	require.NoError(t, err)
	require.Positive(t, copied.Bytes)
	s.mustLoad(map[string]string{"db_path": s.dir + "/copy.db", "module": s.dir + "/none.mjs"})
	s.waitStatus(s.client(aliceToken), run, "waiting-event")

	for body, want := range map[string]string{
		`{"destination":"copy.db"}`:                 "not an absolute path",
		`{"destination":"/x","db_path":"/nowhere"}`: "no gateway works on /nowhere",
		`{"dest":"/x"}`:                             "unknown field",
		`[`:                                         "body",
	} {
		_, err := admin(t, http.MethodPost, "/smithers/backup", body, nil)
		require.ErrorContains(t, err, want)
	}
	status, _ = admin(t, http.MethodGet, "/smithers/backup", "", nil)
	require.Equal(t, http.StatusMethodNotAllowed, status)
}
