package deploytest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	openapi "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

// apiServer is as much of a Kubernetes API server as kubectl needs to create objects, to wait
// for a Deployment and to ask for a command in a pod. It keeps what it is given.
type apiServer struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	created []string                  // paths, in order
	execs   []*url.URL
}

// kinds by API group and version.
var kinds = map[string][]map[string]any{
	"api/v1": {
		resource("namespaces", "Namespace", false), resource("configmaps", "ConfigMap", true), resource("secrets", "Secret", true),
		resource("services", "Service", true), resource("persistentvolumeclaims", "PersistentVolumeClaim", true), resource("pods", "Pod", true),
	},
	"apis/apps/v1":              {resource("deployments", "Deployment", true, "deploy")},
	"apis/networking.k8s.io/v1": {resource("ingresses", "Ingress", true)},
}

func resource(name, kind string, namespaced bool, short ...string) map[string]any {
	return map[string]any{"name": name, "singularName": strings.ToLower(kind), "kind": kind, "namespaced": namespaced, "shortNames": short, "verbs": []string{"create", "get", "list", "watch", "patch"}}
}

func startAPIServer(t *testing.T) *apiServer {
	s := &apiServer{objects: map[string]map[string]any{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections() // of watches
		s.Close()
	})
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	group, ok := strings.CutPrefix(path, "apis/")
	switch {
	case path == "version":
		reply(w, http.StatusOK, map[string]any{"major": "1", "minor": "32", "gitVersion": "v1.32.0"})
	case path == "api":
		reply(w, http.StatusOK, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case path == "apis":
		reply(w, http.StatusOK, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{apiGroup("apps"), apiGroup("networking.k8s.io")}})
	case path == "openapi/v2": // nothing is told of the fields: the test itself reads objects strictly
		text, _ := proto.Marshal(&openapi.Document{Swagger: "2.0", Info: &openapi.Info{Title: "Kubernetes", Version: "v1.32.0"}, Paths: &openapi.Paths{}})
		w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
		_, _ = w.Write(text)
	case kinds[path] != nil:
		reply(w, http.StatusOK, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/"), "resources": kinds[path]})
	case ok && !strings.Contains(group, "/"):
		reply(w, http.StatusOK, apiGroup(group))
	default:
		s.object(w, r, path)
	}
}

// object answers for one object, or the list it is in.
func (s *apiServer) object(w http.ResponseWriter, r *http.Request, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasSuffix(path, "/exec") {
		s.execs = append(s.execs, r.URL)
		refuse(w, http.StatusForbidden, "Forbidden", "no command is run here")
		return
	}
	if r.Method == http.MethodPost {
		var object map[string]any
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &object) != nil {
			refuse(w, http.StatusBadRequest, "BadRequest", "not an object")
			return
		}
		s.keep(path+"/"+object["metadata"].(map[string]any)["name"].(string), object)
		reply(w, http.StatusCreated, object)
		return
	}
	if found := s.objects[path]; found != nil {
		reply(w, http.StatusOK, found)
		return
	}
	items := []any{}
	var kind map[string]any
	for at, object := range s.objects {
		if strings.HasPrefix(at, path+"/") && !strings.Contains(at[len(path)+1:], "/") {
			items, kind = append(items, object), object
		}
	}
	switch {
	case len(items) == 0:
		refuse(w, http.StatusNotFound, "NotFound", path+" not found")
	case r.URL.Query().Get("watch") != "": // nothing changes any more
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		s.mu.Unlock()
		<-r.Context().Done()
		s.mu.Lock()
	default:
		reply(w, http.StatusOK, map[string]any{"kind": kind["kind"].(string) + "List", "apiVersion": kind["apiVersion"], "metadata": map[string]any{"resourceVersion": "1"}, "items": items})
	}
}

// keep stores an object, and what the controllers of a cluster would make of it.
func (s *apiServer) keep(path string, object map[string]any) {
	s.objects[path] = object
	s.created = append(s.created, path)
	meta := object["metadata"].(map[string]any)
	meta["resourceVersion"], meta["uid"], meta["generation"] = "1", path, 1
	if object["kind"] != "Deployment" {
		return
	}
	object["status"] = map[string]any{"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
	template := object["spec"].(map[string]any)["template"].(map[string]any)
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "status": map[string]any{"phase": "Running"},
		"metadata": map[string]any{"name": "pod-1", "namespace": meta["namespace"], "labels": template["metadata"].(map[string]any)["labels"]}}
	s.objects["api/v1/namespaces/"+meta["namespace"].(string)+"/pods/pod-1"] = pod
}

func apiGroup(name string) map[string]any {
	version := map[string]any{"groupVersion": name + "/v1", "version": "v1"}
	return map[string]any{"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": []any{version}, "preferredVersion": version}
}

func reply(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	reply(w, status, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": status})
}
