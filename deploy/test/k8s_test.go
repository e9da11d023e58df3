package deploytest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/smithersai/caddy-smithers/internal/docs"
)

// manifests is what k8s/ holds, decoded.
type manifests struct {
	namespace  *corev1.Namespace
	config     *corev1.ConfigMap
	claim      *corev1.PersistentVolumeClaim
	deployment *appsv1.Deployment
	service    *corev1.Service
	ingress    *networkingv1.Ingress
	secret     *corev1.Secret
	generated  map[string]*corev1.ConfigMap // by name without hash
}

// decode reads objects strictly: an unknown or repeated field is an error.
func decode(t *testing.T, text string) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		if len(bytes.TrimSpace([]byte(document))) == 0 {
			continue
		}
		json, err := yaml.ToJSON([]byte(document))
		require.NoError(t, err)
		if string(json) == "null" {
			continue
		}
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		require.NoError(t, err, document)
		objects = append(objects, object)
	}
	return objects
}

func (m *manifests) add(t *testing.T, object runtime.Object) {
	switch o := object.(type) {
	case *corev1.Namespace:
		m.namespace = o
	case *corev1.ConfigMap:
		if o.Name == "smithers-gateway-config" {
			m.config = o
			return
		}
		name := o.Name
		if o.Namespace != "" { // rendered: a hash follows
			name = name[:strings.LastIndex(name, "-")]
		}
		m.generated[name] = o
	case *corev1.PersistentVolumeClaim:
		m.claim = o
	case *appsv1.Deployment:
		m.deployment = o
	case *corev1.Service:
		m.service = o
	case *networkingv1.Ingress:
		m.ingress = o
	case *corev1.Secret:
		m.secret = o
	default:
		t.Fatalf("unexpected %T", object)
	}
}

// decodeManifests reads the files as they are.
func decodeManifests(t *testing.T) *manifests {
	t.Helper()
	m := &manifests{generated: map[string]*corev1.ConfigMap{}}
	files, err := filepath.Glob(filepath.Join(reference, "k8s", "*.yaml"))
	require.NoError(t, err)
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		for _, object := range decode(t, read(t, "k8s", filepath.Base(file))) {
			m.add(t, object)
		}
	}
	return m
}

// render is what kubectl apply -k would send.
func render(t *testing.T) *manifests {
	t.Helper()
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(reference, "k8s"))
	require.NoError(t, err)
	text, err := result.AsYaml()
	require.NoError(t, err)
	m := &manifests{generated: map[string]*corev1.ConfigMap{}}
	for _, object := range decode(t, string(text)) {
		m.add(t, object)
	}
	return m
}

func TestKubectlRendersTheSame(t *testing.T) {
	kubectl := tool(t, "kubectl")
	cmd := exec.Command("bash", "-euc", docs.Tested(t, "deploy/reference/README.md").Script())
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	out, err := cmd.Output()
	require.NoError(t, err)
	got := &manifests{generated: map[string]*corev1.ConfigMap{}}
	for _, object := range decode(t, string(out)) {
		got.add(t, object)
	}
	require.Equal(t, render(t), got)
}

func TestRenderedManifestsBelongTogether(t *testing.T) {
	m := render(t)
	require.Nil(t, m.secret, "the example is not applied: it would overwrite the tokens")
	require.Equal(t, "smithers", m.namespace.Name)
	pod := m.deployment.Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	container := pod.Containers[0]

	t.Run("one namespace", func(t *testing.T) {
		for _, namespace := range []string{m.config.Namespace, m.claim.Namespace, m.deployment.Namespace, m.service.Namespace, m.ingress.Namespace} {
			require.Equal(t, m.namespace.Name, namespace)
		}
		require.Equal(t, m.namespace.Name, decodeManifests(t).secret.Namespace)
	})

	t.Run("one writer", func(t *testing.T) {
		require.EqualValues(t, 1, *m.deployment.Spec.Replicas)
		require.Equal(t, appsv1.RecreateDeploymentStrategyType, m.deployment.Spec.Strategy.Type)
		require.Equal(t, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, m.claim.Spec.AccessModes)
	})

	t.Run("labels", func(t *testing.T) {
		labels := m.deployment.Spec.Template.Labels
		require.Subset(t, labels, m.deployment.Spec.Selector.MatchLabels)
		require.Subset(t, labels, m.service.Spec.Selector)
	})

	t.Run("ports", func(t *testing.T) {
		require.Equal(t, "7331", m.config.Data["PORT"])
		require.EqualValues(t, 7331, container.Ports[0].ContainerPort)
		require.EqualValues(t, 7331, m.service.Spec.Ports[0].Port)
		require.Equal(t, container.Ports[0].Name, m.service.Spec.Ports[0].TargetPort.StrVal)
		backend := m.ingress.Spec.Rules[0].HTTP.Paths[0].Backend.Service
		require.Equal(t, m.service.Name, backend.Name)
		require.Equal(t, m.service.Spec.Ports[0].Name, backend.Port.Name)
		require.Equal(t, m.ingress.Spec.TLS[0].Hosts, []string{m.ingress.Spec.Rules[0].Host})
	})

	t.Run("volumes", func(t *testing.T) {
		sources := map[string]corev1.VolumeSource{}
		for _, v := range pod.Volumes {
			sources[v.Name] = v.VolumeSource
		}
		mounts := map[string]corev1.VolumeMount{}
		for _, mount := range container.VolumeMounts {
			require.Contains(t, sources, mount.Name)
			require.Empty(t, mount.SubPath, "a subPath never sees a changed Secret")
			mounts[mount.MountPath] = mount
		}
		require.Len(t, mounts, len(sources))

		in := func(folder, name string) corev1.VolumeSource {
			path := m.config.Data[name]
			require.Equal(t, folder, filepath.Dir(path), name)
			return sources[mounts[folder].Name]
		}
		require.Equal(t, m.claim.Name, in("/data", "SMITHERS_DB_PATH").PersistentVolumeClaim.ClaimName)
		require.False(t, mounts["/data"].ReadOnly)

		tokens := in("/tokens", "SMITHERS_TOKEN_STORE").Secret
		example := decodeManifests(t).secret
		require.Equal(t, example.Name, tokens.SecretName)
		require.Contains(t, example.StringData, filepath.Base(m.config.Data["SMITHERS_TOKEN_STORE"]))
		require.True(t, *tokens.Optional, "without a Secret the gateway starts and denies")

		workspace := in("/workspace", "SMITHERS_GATEWAY_MODULE").ConfigMap
		require.Equal(t, m.generated["smithers-gateway-workspace"].Name, workspace.Name, "the name with the hash")
		require.Contains(t, m.generated["smithers-gateway-workspace"].Data, filepath.Base(m.config.Data["SMITHERS_GATEWAY_MODULE"]))

		require.Equal(t, m.generated["smithers-gateway-caddyfile"].Name, sources[mounts["/etc/smithers"].Name].ConfigMap.Name)
		require.Contains(t, m.generated["smithers-gateway-caddyfile"].Data, "Caddyfile")
		require.Equal(t, []string{"run", "--config", "/etc/smithers/Caddyfile"}, container.Args)

		require.Equal(t, m.config.Name, container.EnvFrom[0].ConfigMapRef.Name)
		require.Equal(t, read(t, "workspace", "gateway.mjs"), read(t, "k8s", "gateway.mjs"), "all guides launch the same workflow")
	})

	t.Run("probes", func(t *testing.T) {
		require.Equal(t, "/health/ready", container.ReadinessProbe.HTTPGet.Path)
		require.Equal(t, "/health/live", container.LivenessProbe.HTTPGet.Path)
		for _, probe := range []*corev1.Probe{container.StartupProbe, container.ReadinessProbe, container.LivenessProbe} {
			require.Equal(t, container.Ports[0].Name, probe.HTTPGet.Port.StrVal)
		}
	})

	t.Run("time to stop", func(t *testing.T) {
		require.GreaterOrEqual(t, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second, shutdown(t, "k8s", "Caddyfile")+reserve)
	})

	t.Run("memory", func(t *testing.T) {
		limit := container.Resources.Limits.Memory().Value()
		require.EqualValues(t, 2<<30, limit)
		require.Contains(t, read(t, "k8s", "Caddyfile"), "vm_memory_total 1GiB")
	})

	t.Run("image", func(t *testing.T) {
		name, tag, _ := strings.Cut(container.Image, ":")
		require.Equal(t, "registry.example.com/smithers-gateway", name)
		require.NotEmpty(t, tag)
		require.NotEqual(t, "latest", tag)
		user := "USER " + itoa(*pod.SecurityContext.RunAsUser) + ":" + itoa(*pod.SecurityContext.RunAsGroup)
		require.Contains(t, read(t, "Dockerfile"), user, "the user of the image")
	})
}

// The admission rules of the API server itself.
func TestPodSecurityIsRestricted(t *testing.T) {
	m := render(t)
	require.Equal(t, "restricted", m.namespace.Labels[api.EnforceLevelLabel])
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	template := m.deployment.Spec.Template
	for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &template.ObjectMeta, &template.Spec) {
		require.True(t, result.Allowed, "%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
	}
	require.False(t, *template.Spec.AutomountServiceAccountToken)
	require.True(t, *template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem)
}

// The guide's commands for a Secret give one that fits the Deployment; the store the
// program reads back from it takes the token.
func TestSecretFromATokenStore(t *testing.T) {
	kubectl := tool(t, "kubectl")
	dir := t.TempDir()
	script := "set -euo pipefail\n" + docs.Tested(t, "deploy/reference/README.md").Script() + "\nsmithers-gateway token check --store tokens.json \"$TOKEN\"\n"
	shell(t, dir, script, "PATH="+filepath.Dir(binary)+":"+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))

	text, err := os.ReadFile(filepath.Join(dir, "secret.yaml"))
	require.NoError(t, err)
	secret := decode(t, string(text))[0].(*corev1.Secret)
	example := decodeManifests(t).secret
	require.Equal(t, example.Name, secret.Name)
	require.Equal(t, example.Namespace, secret.Namespace)
	store, err := os.ReadFile(filepath.Join(dir, "tokens.json"))
	require.NoError(t, err)
	require.Equal(t, string(store), string(secret.Data["tokens.json"]))
	require.NotContains(t, string(store), "smithers_", "hashes only")
}
