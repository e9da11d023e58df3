package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func at(ms int64) func() time.Time { return func() time.Time { return time.UnixMilli(ms) } }

func storeIn(t *testing.T) string { return filepath.Join(t.TempDir(), "sub", "tokens.json") }

func issue(t *testing.T, path string, scopes ...string) *Issued {
	t.Helper()
	i, err := Issue(t.Context(), IssueOptions{Path: path, Scopes: scopes, UserID: "alice", TTL: time.Hour, Now: at(now.UnixMilli())})
	require.NoError(t, err)
	return i
}

func commandError(t *testing.T, err error) *CommandError {
	t.Helper()
	var ce *CommandError
	require.ErrorAs(t, err, &ce)
	return ce
}

func TestIssue(t *testing.T) {
	path := storeIn(t)
	i := issue(t, path, "run:read", "run:write")
	require.Regexp(t, `^smithers_[A-Za-z0-9_-]{43}$`, i.Token)
	require.Regexp(t, `^smithers_action_[A-Za-z0-9_-]{32}$`, i.ActionToken.Handle)
	require.Equal(t, hashText(i.Token), i.Grant.TokenHash)
	require.Equal(t, hashText(i.Token)[:16], i.Grant.TokenID)
	require.Equal(t, now.Add(time.Hour).UnixMilli(), i.Grant.ExpiresAtMs)
	require.Equal(t, path, i.StorePath)

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(data), i.Token, "the secret is told once and never stored")
	require.NotContains(t, string(data), i.ActionToken.Handle)
	require.True(t, strings.HasPrefix(string(data), "{\n  \"version\": 2,"))
	require.True(t, strings.HasSuffix(string(data), "}\n"))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	g, err := ParseGrants(data)
	require.NoError(t, err)
	p, refusal := g.Lookup(i.Token, now)
	require.Nil(t, refusal)
	require.Equal(t, []string{"run:read", "run:write"}, p.Scopes)
	require.Equal(t, "alice", p.UserID)
	var file struct {
		Tokens map[string]json.RawMessage
		Audit  []map[string]any
	}
	require.NoError(t, json.Unmarshal(data, &file))
	for key := range file.Tokens { // other programs take keys for secrets
		require.Regexp(t, `^grant_[A-Za-z0-9_-]{43}$`, key)
		_, refusal := g.Lookup(key, now)
		require.Equal(t, errBadToken, refusal)
	}
	require.Len(t, file.Audit, 2)
	require.Equal(t, "issued", file.Audit[0]["type"])
	require.Equal(t, "alice", file.Audit[0]["userId"])
	require.Equal(t, "action_issued", file.Audit[1]["type"])

	left, err := filepath.Glob(path + "*.tmp")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestIssueDefaults(t *testing.T) {
	i, err := Issue(t.Context(), IssueOptions{Path: storeIn(t)})
	require.NoError(t, err)
	require.Equal(t, "operator", i.Grant.Role)
	require.Equal(t, []string{"run:read"}, i.Grant.Scopes)
	require.Equal(t, "gateway", i.ActionToken.ActionID)
	out, err := json.Marshal(i)
	require.NoError(t, err)
	require.NotContains(t, string(out), "sealed")
}

func TestOldStoreSurvivesARewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	old := `{"version":1,"tokens":{"b6036f19260952b4":{"tokenId":"b6036f19260952b4","role":"operator","scopes":["run:read"],"secret":"smithers_s","note":"kept"},
		"op":{"role":"admin","scopes":["*"]}},"actionTokens":{"smithers_action_h":{"handle":"smithers_action_h","tokenId":"b6036f19260952b4",
		"actionId":"gateway","scopes":["run:read"]}},"audit":[{"type":"issued","tokenId":"b6036f19260952b4"},{"no":"type"},5]}`
	require.NoError(t, os.WriteFile(path, []byte(old), 0o644))
	issue(t, path)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var got struct {
		Version int
		Tokens  map[string]map[string]any
		Audit   []any
	}
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, 2, got.Version)
	require.Equal(t, "kept", got.Tokens["smithers_s"]["note"])
	require.Equal(t, hashText("smithers_s"), got.Tokens["smithers_s"]["tokenHash"])
	require.Len(t, got.Audit, 3)
	g, err := ParseGrants(data)
	require.NoError(t, err)
	for _, token := range []string{"smithers_s", "op"} {
		_, refusal := g.Lookup(token, now)
		require.Nil(t, refusal, token)
	}
}

func TestCorruptStoreIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	for _, content := range []string{`{"tokens":`, "", "[]", `{"version":3,"tokens":{}}`} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := Issue(t.Context(), IssueOptions{Path: path, TTL: time.Hour})
		ce := commandError(t, err)
		require.Equal(t, CodeIssueFailed, ce.Code)
		require.Equal(t, 1, ce.Exit)
		require.Contains(t, ce.Message, "Smithers token store at "+path+" is unreadable or corrupt and was left untouched; ")
		_, err = Revoke(t.Context(), path, "x", nil)
		require.Equal(t, CodeUnknown, commandError(t, err).Code)
		require.Equal(t, 4, commandError(t, err).Exit)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(data))
	}
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	_, err := List(path, now)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = Check(path, "x", now)
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestReadOnlyStore(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir = "/sys" // refuses even root
	} else {
		require.NoError(t, os.Chmod(dir, 0o500))
	}
	if f, err := os.Create(filepath.Join(dir, "probe")); err == nil || !errors.Is(readOnly(err), ErrReadOnly) {
		if err == nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
		t.Skip("no folder here refuses writing")
	}
	_, err := Issue(t.Context(), IssueOptions{Path: filepath.Join(dir, "tokens.json"), TTL: time.Hour, Now: at(now.UnixMilli())})
	require.ErrorIs(t, err, ErrReadOnly)
	var ro *ReadOnlyError
	require.ErrorAs(t, err, &ro)
	require.NotContains(t, string(ro.Entry), ro.Issued.Token)
	g, err := ParseGrants(ro.Entry)
	require.NoError(t, err)
	_, refusal := g.Lookup(ro.Issued.Token, now)
	require.Nil(t, refusal, "the entry to paste works as it is")
}

func TestMountedFileIsReadOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("unix error numbers")
	}
	require.ErrorIs(t, readOnly(&os.LinkError{Op: "rename", Err: errBusy}), ErrReadOnly)
	require.NotErrorIs(t, readOnly(os.ErrExist), ErrReadOnly)
}

func TestWritesThroughSymlinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symlinks need a privilege")
	}
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "tokens.json")
	require.NoError(t, os.WriteFile(real, []byte("{}"), 0o600))
	require.NoError(t, os.Symlink("real.json", link))
	issue(t, link)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	all, err := List(real, now)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestRevoke(t *testing.T) {
	for name, by := range map[string]func(*Issued) string{
		"secret": func(i *Issued) string { return i.Token },
		"id":     func(i *Issued) string { return i.Grant.TokenID },
		"hash":   func(i *Issued) string { return i.Grant.TokenHash },
		"prefix": func(i *Issued) string { return i.Grant.TokenHash[:12] },
	} {
		t.Run(name, func(t *testing.T) {
			path := storeIn(t)
			first, other := issue(t, path), issue(t, path)
			r, err := Revoke(t.Context(), path, by(first), at(now.UnixMilli()+7))
			require.NoError(t, err)
			require.Equal(t, &Revoked{Revoked: true, TokenID: first.Grant.TokenID, StorePath: path}, r)
			c, err := Check(path, first.Token, now.Add(time.Second))
			require.NoError(t, err)
			require.False(t, c.Valid)
			require.Equal(t, "Token has been revoked", c.Reason)
			require.Equal(t, StateRevoked, c.Grant.State)
			require.Equal(t, now.UnixMilli()+7, c.Grant.RevokedAtMs)
			c, err = Check(path, other.Token, now)
			require.NoError(t, err)
			require.True(t, c.Valid)
			_, err = Exec(t.Context(), ExecOptions{Path: path, Handle: first.ActionToken.Handle, Command: "exit 0", Now: at(now.UnixMilli() + 8)})
			require.Equal(t, "Action token handle has been revoked", commandError(t, err).Message)
			_, err = Revoke(t.Context(), path, by(first), at(now.UnixMilli()+9)) // again is fine
			require.NoError(t, err)
		})
	}
	path := storeIn(t)
	issue(t, path)
	for _, target := range []string{"", "nope", "smithers_"} {
		_, err := Revoke(t.Context(), path, target, nil)
		require.Equal(t, CodeTokenNotFound, commandError(t, err).Code)
		require.Equal(t, "Token was not found in the local Smithers token store", err.Error())
	}
}

func TestListAndCheck(t *testing.T) {
	path := storeIn(t)
	all, err := List(path, now)
	require.NoError(t, err)
	require.Empty(t, all)
	c, err := Check(path, "x", now)
	require.NoError(t, err)
	require.False(t, c.Valid)

	i := issue(t, path, "run:read")
	_, err = Issue(t.Context(), IssueOptions{Path: path, TTL: 0, Now: at(now.UnixMilli() + 5)})
	require.NoError(t, err)
	all, err = List(path, now.Add(time.Minute))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, i.Grant.TokenID, all[0].TokenID)
	require.Equal(t, StateActive, all[0].State)
	require.Equal(t, StateExpired, all[1].State)
	require.False(t, all[0].ClearSecret)
	c, err = Check(path, "smithers_unknown", now)
	require.NoError(t, err)
	require.Equal(t, &Checked{Reason: "Invalid token"}, c)
}

func TestExec(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	path := storeIn(t)
	i := issue(t, path, "run:read", "cron:read")
	run := func(o ExecOptions) (string, error) {
		var out bytes.Buffer
		o.Path, o.Stdout = path, &out
		if o.Handle == "" {
			o.Handle = i.ActionToken.Handle
		}
		if o.Now == nil {
			o.Now = at(now.UnixMilli() + 1)
		}
		got, err := Exec(t.Context(), o)
		if err == nil {
			require.Equal(t, &Executed{OK: true, TokenID: i.Grant.TokenID, ActionID: "gateway"}, got)
		}
		return out.String(), err
	}
	out, err := run(ExecOptions{Command: `printf %s "$SMITHERS_API_KEY"`, Scopes: []string{"run:read"}})
	require.NoError(t, err)
	require.Equal(t, i.Token, out)
	out, err = run(ExecOptions{Command: `printf %s "$OTHER"`, Env: "OTHER"})
	require.NoError(t, err)
	require.Equal(t, i.Token, out)

	for want, o := range map[string]ExecOptions{
		"Action token handle was not found":             {Handle: "smithers_action_x"},
		"Action token is not valid for this action":     {ActionID: "other"},
		"Action token handle has expired":               {Now: at(now.Add(time.Hour).UnixMilli())},
		"Token is missing required scope(s): run:write": {Scopes: []string{"run:read", "run:write"}},
	} {
		o.Command = "exit 0"
		_, err := run(o)
		require.Equal(t, CodeExecFailed, commandError(t, err).Code)
		require.Equal(t, want, err.Error())
	}
	_, err = run(ExecOptions{Command: "exit 7"})
	require.Equal(t, "Command exited with status 7", err.Error())
	require.Equal(t, 7, commandError(t, err).Exit)

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(data), `"action_used"`))
}

func TestExecOnStoresOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	path := filepath.Join(t.TempDir(), "tokens.json")
	write := func(grant, action string) {
		require.NoError(t, os.WriteFile(path, []byte(fmt.Sprintf(`{"version":2,"tokens":{"smithers_s":{"tokenId":"t"%s}},
			"actionTokens":{"h":{"handle":"h","tokenId":"t","actionId":"gateway"%s}}}`, grant, action)), 0o600))
	}
	run := func() (string, error) {
		var out bytes.Buffer
		_, err := Exec(t.Context(), ExecOptions{Path: path, Handle: "h", Command: `printf %s "$SMITHERS_API_KEY"`, Stdout: &out, Now: at(now.UnixMilli())})
		return out.String(), err
	}
	write("", "")
	out, err := run()
	require.NoError(t, err)
	require.Equal(t, "smithers_s", out)
	for want, parts := range map[string][2]string{
		"Token grant has been revoked":         {`,"revokedAtMs":5`, ""},
		"Token grant has expired":              {`,"expiresAtMs":5`, ""},
		"Backing token grant was not found":    {"", `,"tokenId":"other"`},
		"Backing token grant holds no secret":  {`,"tokenHash":"` + hashText("else") + `"`, ""},
		"Action token handle has been revoked": {"", `,"revokedAtMs":5`},
	} {
		write(parts[0], parts[1])
		_, err := run()
		require.EqualError(t, err, want)
	}
}

func TestAuditKeepsTheNewest(t *testing.T) {
	f := newFile()
	for i := range maxAudit + 10 {
		require.NoError(t, f.note("revoked", fmt.Sprint(i), now, nil))
	}
	_, err := f.encode()
	require.NoError(t, err)
	require.Len(t, f.audit, maxAudit)
	require.Contains(t, string(f.audit[0]), `"tokenId":"10"`)
}

func TestParseTTL(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"500": 500 * time.Millisecond, "500ms": 500 * time.Millisecond, "10s": 10 * time.Second, "2m": 2 * time.Minute,
		"1.5h": 90 * time.Minute, "7d": 168 * time.Hour, "0": 0,
	} {
		got, err := ParseTTL(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "3x", "-1s", "1 s", "1.s", ".5s", "1h30m", "s", "99999999999999d", "１s"} {
		_, err := ParseTTL(s)
		ce := commandError(t, err)
		require.Equal(t, CodeInvalidDuration, ce.Code)
		require.Equal(t, fmt.Sprintf("Invalid ttl: %q. Use formats like 500ms, 10s, 2m. See https://smithers.sh/reference/errors", s), ce.Message)
	}
}

func TestSplitScopes(t *testing.T) {
	require.Equal(t, []string{"a", "b", "c"}, SplitScopes(" a,b  c, "))
	require.Empty(t, SplitScopes(""))
}

func TestLockGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	unlock, err := lockStore(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Issue(ctx, IssueOptions{Path: path, TTL: time.Hour})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	issue(t, path)
}

// issueAsProcess is the body of one re-executed test binary.
func issueAsProcess(path string) {
	i, err := Issue(context.Background(), IssueOptions{Path: path, Scopes: []string{"run:read"}, TTL: time.Hour})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(i.Token)
}

// 80 processes at once store 80 grants (Q39), and a watcher learns them all.
func TestEightyIssuersLoseNothing(t *testing.T) {
	const issuers = 80
	path := storeIn(t)
	w := watch(t, path)
	tokens := make([]string, issuers)
	var wg sync.WaitGroup
	for i := range issuers {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "AUTH_TEST_ISSUE="+path)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("issuer %d: %v: %s", i, err, errs.String())
			}
			tokens[i] = string(out)
		})
	}
	wg.Wait()
	all, err := List(path, time.Now())
	require.NoError(t, err)
	require.Len(t, all, issuers)
	w.within("learn all tokens", func() bool {
		for _, token := range tokens {
			if !w.knows(token) {
				return false
			}
		}
		return true
	})
	left, err := filepath.Glob(path + "*.tmp")
	require.NoError(t, err)
	require.Empty(t, left)
}
