package deploytest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// TestClusterCommands runs the guide's commands for a cluster by the real kubectl against a
// server that keeps what it is given: the objects are those that the other tests hold, the
// Secret is found where the Deployment looks for it, and a backup would be taken in its pod.
func TestClusterCommands(t *testing.T) {
	kubectl := tool(t, "kubectl")
	server := startAPIServer(t)
	config := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q}}]
contexts: [{name: test, context: {cluster: test, user: nobody}}]
users: [{name: nobody, user: {}}]
`, server.URL)), 0o600))
	dir := t.TempDir() // looks like the repository, without its folders
	require.NoError(t, os.Symlink(filepath.Join(repository, "deploy"), filepath.Join(dir, "deploy")))
	env := []string{"KUBECONFIG=" + config, "HOME=" + dir, "NO_PROXY=127.0.0.1", "PATH=" + filepath.Dir(binary) + ":" + filepath.Dir(kubectl) + ":" + os.Getenv("PATH")}

	commands := docs.Tested(t, "deploy/reference/README.md")
	require.Equal(t, 3, commands.Left(), "manifests, Secret, backup")
	require.Contains(t, shell(t, dir, "set -euo pipefail\n"+commands.Next().Text, env...), "successfully rolled out")
	made := docs.Find(t, "deploy/reference/README.md", "tested: deploy/test TestSecretFromATokenStore")[0].Text
	shell(t, dir, "set -euo pipefail\n"+made+commands.Next().Text, env...)

	got := &manifests{generated: render(t).generated}
	want := render(t)
	kept := 0
	for _, path := range server.created {
		object := server.stored(t, path)
		if !strings.Contains(path, "/configmaps/") { // their names have a hash, which render leaves out
			got.add(t, object)
		}
		kept++
	}
	require.Greater(t, kept, 7)
	require.Equal(t, "smithers", got.secret.Namespace)
	volume := ""
	for _, v := range want.deployment.Spec.Template.Spec.Volumes {
		if v.Secret != nil {
			volume = v.Secret.SecretName
		}
	}
	require.Equal(t, volume, got.secret.Name)
	require.NotEmpty(t, got.secret.Data["tokens.json"])
	require.Equal(t, want.deployment.Spec, got.deployment.Spec)
	require.Equal(t, want.ingress.Spec, got.ingress.Spec)
	require.Equal(t, want.service.Spec, got.service.Spec)
	require.Equal(t, want.claim.Spec, got.claim.Spec)
	require.Equal(t, want.namespace.Labels, got.namespace.Labels)

	cmd := exec.Command("bash", "-euc", commands.Next().Text)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "nobody has run it")
	require.NotEmpty(t, server.execs, string(out))
	asked := server.execs[len(server.execs)-1]
	require.Equal(t, "/api/v1/namespaces/smithers/pods/pod-1/exec", asked.Path)
	require.Equal(t, []string{"smithers-gateway", "backup", "/backup/smithers.db"}, asked.Query()["command"])
}

// stored decodes an object strictly, without what kubectl and the server have added.
func (s *apiServer) stored(t *testing.T, path string) runtime.Object {
	t.Helper()
	object := s.objects[path]
	delete(object, "status")
	meta := object["metadata"].(map[string]any)
	for _, added := range []string{"resourceVersion", "uid", "generation"} {
		delete(meta, added)
	}
	if notes, ok := meta["annotations"].(map[string]any); ok {
		delete(notes, lastApplied)
	}
	text, err := json.Marshal(object)
	require.NoError(t, err)
	objects := decode(t, string(text))
	require.Len(t, objects, 1)
	return objects[0]
}
