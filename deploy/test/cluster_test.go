package deploytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// mounted is a folder as the kubelet makes it of a ConfigMap or a Secret: the files are
// symlinks through ..data, which is replaced by a rename.
type mounted struct {
	dir   string
	turns int
}

func (m *mounted) swap(t *testing.T, files map[string][]byte) {
	t.Helper()
	m.turns++
	data := fmt.Sprintf("..2026_01_02_03_04_05.%09d", m.turns)
	require.NoError(t, os.MkdirAll(filepath.Join(m.dir, data), 0o755))
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, data, name), content, 0o440))
		require.NoError(t, os.Chown(filepath.Join(m.dir, data, name), 0, 10001)) // fsGroup
	}
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	require.NoError(t, os.Symlink(data, filepath.Join(m.dir, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	for name := range files {
		link := filepath.Join(m.dir, name)
		if _, err := os.Lstat(link); err != nil {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), link))
		}
	}
	if old != "" {
		require.NoError(t, os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

func mount(t *testing.T, config *corev1.ConfigMap) *mounted {
	t.Helper()
	m := &mounted{dir: t.TempDir()}
	require.NoError(t, os.Chmod(m.dir, 0o755))
	files := map[string][]byte{}
	if config != nil {
		for name, text := range config.Data {
			files[name] = []byte(text)
		}
		m.swap(t, files)
	}
	return m
}

// pod runs the image the way the rendered Deployment says, with folders laid out as the
// kubelet does, and returns its name and address.
func pod(t *testing.T, m *manifests, tokens string) (name, address string) {
	t.Helper()
	if os.Getuid() != 0 {
		absent(t, "the files of a Secret cannot be given to fsGroup without root")
	}
	if _, err := try("docker", "image", "inspect", "smithers-gateway:local"); err != nil {
		output(t, "docker", "build", "-f", "deploy/reference/Dockerfile", "-t", "smithers-gateway:local", ".")
	}
	spec := m.deployment.Spec.Template.Spec
	container := spec.Containers[0]
	name = "smithers-test-pod-" + strconv.Itoa(os.Getpid())
	volume := name + "-data"
	folders := map[string]string{
		"/data":         volume,
		"/tokens":       tokens,
		"/workspace":    mount(t, m.generated["smithers-gateway-workspace"]).dir,
		"/etc/smithers": mount(t, m.generated["smithers-gateway-caddyfile"]).dir,
	}
	user := fmt.Sprintf("%d:%d", *spec.SecurityContext.RunAsUser, *spec.SecurityContext.RunAsGroup)
	args := []string{
		"run", "--detach", "--name", name, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
		"--user", user, "--memory", strconv.FormatInt(container.Resources.Limits.Memory().Value(), 10),
		"--stop-timeout", itoa(*spec.TerminationGracePeriodSeconds),
	}
	for _, mount := range container.VolumeMounts {
		option := folders[mount.MountPath] + ":" + mount.MountPath
		if mount.ReadOnly {
			option += ":ro"
		}
		args = append(args, "--volume", option)
	}
	for key, value := range m.config.Data {
		args = append(args, "--env", key+"="+value)
	}
	args = append(args, "smithers-gateway:local")
	docker(t, append(args, container.Args...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tail(docker(t, "logs", "--tail", "40", name)))
		}
		docker(t, "rm", "--force", name)
		docker(t, "volume", "rm", volume)
	})
	address = docker(t, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
	waitFor(t, "the pod", func() bool { return ready(remote(t, "http://"+address+":7331", "", "")) })
	return name, address
}

// issueInto adds a token to a store on this machine.
func issueInto(t *testing.T, store string) string {
	t.Helper()
	out, err := exec.Command(binary, "token", "issue", "--store", store, "--scopes", operator, "--ttl", "30d").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestPodFollowsItsSecret(t *testing.T) {
	engine(t)
	m := render(t)
	secret := &mounted{dir: t.TempDir()} // the Secret does not exist yet
	require.NoError(t, os.Chmod(secret.dir, 0o755))
	name, address := pod(t, m, secret.dir)
	base := "http://" + address + ":" + m.config.Data["PORT"]
	denied(t, remote(t, base, "smithers_guess", ""))

	store := filepath.Join(t.TempDir(), "tokens.json")
	put := func() {
		content, err := os.ReadFile(store)
		require.NoError(t, err)
		secret.swap(t, map[string][]byte{"tokens.json": content})
	}
	first := issueInto(t, store)
	put()
	begin := time.Now()
	waitFor(t, "the first token", func() bool { return answers(remote(t, base, first, "")) })
	t.Logf("MEASURED first Secret counts after %s", time.Since(begin).Round(time.Millisecond))

	require.NoError(t, os.Remove(store)) // a new store: the old token is gone
	second := issueInto(t, store)
	put()
	begin = time.Now()
	waitFor(t, "the rotated token", func() bool { return answers(remote(t, base, second, "")) })
	t.Logf("MEASURED rotated Secret counts after %s", time.Since(begin).Round(time.Millisecond))
	denied(t, remote(t, base, first, ""))

	// Issued in the pod: the store is read-only.
	out, err := try("docker", "exec", name, "smithers-gateway", "token", "issue", "--scopes", "run:read")
	require.ErrorContains(t, err, "exit status 3", out)

	for _, probe := range []string{"/health/ready", "/health/live"} {
		status, _, err := remote(t, base, "", "").Get(t.Context(), probe)
		require.NoError(t, err)
		require.Equal(t, 200, status, probe)
	}
	docker(t, "stop", name)
	require.Equal(t, "0", docker(t, "inspect", "--format", "{{.State.ExitCode}}", name))
}

// A real nginx stands for the Ingress controller, set up as ingress-nginx does for
// ingress.yaml: TLS, the annotations' timeouts and buffering, its headers.
const nginx = `
daemon off;
pid nginx.pid;
error_log error.log warn;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
	server {
		listen 127.0.0.1:%[1]d ssl;
		server_name %[2]s;
		ssl_certificate tls.crt;
		ssl_certificate_key tls.key;
		client_max_body_size %[3]s;
		location / {
			proxy_pass http://%[4]s;
			proxy_http_version 1.1;
			proxy_set_header Host $host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection $connection_upgrade;
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_read_timeout %[5]ss;
			proxy_send_timeout %[6]ss;
			proxy_buffering %[7]s;
		}
	}
}
`

func TestIngressPassesSocketsStreamsAndAddresses(t *testing.T) {
	engine(t)
	program := tool(t, "nginx")
	m := render(t)
	store := filepath.Join(t.TempDir(), "tokens.json")
	token := issueInto(t, store)
	content, err := os.ReadFile(store)
	require.NoError(t, err)
	secret := &mounted{dir: t.TempDir()}
	require.NoError(t, os.Chmod(secret.dir, 0o755))
	secret.swap(t, map[string][]byte{"tokens.json": content})
	name, address := pod(t, m, secret.dir)

	dir, port := t.TempDir(), rig.FreePort(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	host := m.ingress.Spec.Rules[0].Host
	root := selfSigned(t, dir, host)
	annotation := func(name string) string { return m.ingress.Annotations["nginx.ingress.kubernetes.io/"+name] }
	config := fmt.Sprintf(nginx, port, host, annotation("proxy-body-size"), net.JoinHostPort(address, m.config.Data["PORT"]),
		annotation("proxy-read-timeout"), annotation("proxy-send-timeout"), annotation("proxy-buffering"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o644))
	cmd := exec.Command(program, "-p", dir, "-c", "nginx.conf")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }) // its workers end with it

	// The client comes from a public address, which a network of Docker's gives this
	// machine, and lies about it.
	network, public := name+"-public", "198.51.100.1"
	docker(t, "network", "create", "--opt", "com.docker.network.bridge.enable_ip_masquerade=false", "--subnet", "198.51.100.0/29", "--gateway", public, network)
	t.Cleanup(func() { docker(t, "network", "rm", network) })
	q := remote(t, fmt.Sprintf("https://%s:%d", "127.0.0.1", port), token, root)
	q.TLS.ServerName = host
	from(q, public)
	waitFor(t, "nginx", func() bool { return ready(q) })

	launch(t, q, "through", 3)
	socket, err := q.Dial(t.Context(), client.DialOptions{Header: map[string][]string{"X-Forwarded-For": {"6.6.6.6"}}})
	require.NoError(t, err)
	defer socket.Cut()
	events := follow(t, socket, "through", nil, completed)
	require.Equal(t, 3, count(events, "node.finished", "roll-out"))

	streamThrough(t, q)

	for _, path := range []string{"/v1/rpc/launchRun", "/v1/api/runs/streamed/stream"} { // a request is logged at its end
		waitFor(t, "the client's address in the log", func() bool {
			for line := range strings.Lines(docker(t, "logs", name)) {
				if strings.Contains(line, path) && strings.Contains(line, `"client_ip":"`+public+`"`) {
					return true
				}
			}
			return false
		})
	}
	require.NotContains(t, docker(t, "logs", name), `"client_ip":"6.6.6.6"`)
	require.NotContains(t, docker(t, "logs", name), token)
}

// streamThrough follows a run by server-sent events. What is said before a pause must
// arrive in it: a proxy that collects answers would keep it back.
func streamThrough(t *testing.T, q *client.Client) {
	t.Helper()
	const id = "streamed"
	require.NoError(t, q.Call(t.Context(), "launchRun", map[string]any{
		"workflow": "release", "input": map[string]any{"hosts": 3}, "options": map[string]any{"runId": id},
	}, nil))
	lie := map[string]string{"X-Forwarded-For": "6.6.6.6"}
	asked := func(events []*client.RunEvent) bool { return events[len(events)-1].Event == "approval.requested" }

	first := openStream(t, q, id, 0, lie)
	events := first.take(t, nil, asked)
	require.NoError(t, first.body.Close())

	second := openStream(t, q, id, int64(len(events)), lie)
	decision := map[string]any{"runId": id, "nodeId": "go-live", "approved": true}
	require.NoError(t, q.Call(t.Context(), "submitApproval", decision, nil))
	events = second.take(t, events, completed)
	require.Equal(t, 3, count(events, "node.finished", "roll-out"))
	second.ends(t)
}

// selfSigned writes tls.crt and tls.key, as a Secret of type kubernetes.io/tls holds.
func selfSigned(t *testing.T, dir, host string) (certificate string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.crt"), public, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600))
	return string(public)
}
