package jsmod

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFetchListEntries(t *testing.T) {
	for _, good := range []string{"public", "none", "example.com", "*.example.com", "example.com:8443", "Example.COM.", "localhost", "a_b.internal",
		"10.0.0.5", "10.0.0.5:80", "10.0.0.0/8", "::1", "[::1]:80", "fd00::/8"} {
		require.NoError(t, CheckFetchAllow([]string{good}), good)
	}
	for _, bad := range []string{"", "*", "http://example.com", "example.com/path", "example.com:", "example.com:http", "example.com:0", "example.com:99999",
		"a b", "*.*.com", "ex*mple.com", "10.0.0.0/33", ".example.com", "user@example.com"} {
		require.Error(t, CheckFetchAllow([]string{bad}), bad)
	}
	require.ErrorContains(t, CheckFetchAllow([]string{"none", "public"}), "none stands alone")
}

func TestFetchListReaches(t *testing.T) {
	list := func(entries ...string) *fetchList {
		l, err := parseFetchAllow(entries)
		require.NoError(t, err)
		return l
	}
	l := list("api.example.com:443", "*.internal", "10.1.0.0/16", "[fd00::1]:80")
	require.True(t, l.named("API.example.com.", "443"))
	require.False(t, l.named("api.example.com", "80"))
	require.True(t, l.named("db.internal", "5432"))
	require.True(t, l.named("a.b.internal", "1"))
	require.False(t, l.named("internal", "80"))
	require.False(t, l.named("evilinternal", "80"))
	for address, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "8.8.8.8": false, "fd00::1": true, "fd00::2": false} {
		require.Equal(t, want, l.reaches(false, netip.MustParseAddr(address), "80"), address)
	}
	require.False(t, l.reaches(false, netip.MustParseAddr("fd00::1"), "443"))

	// A name of the list leads into the operator's network, but not to the metadata
	// service of a cloud.
	require.True(t, l.reaches(true, netip.MustParseAddr("10.9.9.9"), "443"))
	for _, never := range []string{"169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1"} {
		require.False(t, l.reaches(true, netip.MustParseAddr(never), "443"), never)
	}

	public := list("public")
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700:4700::1111": true, "127.0.0.1": false, "127.8.8.8": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false,
		"100.64.0.1": false, "169.254.169.254": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false,
		"::1": false, "::ffff:127.0.0.1": false, "::7f00:1": false, "fc00::1": false, "fe80::1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
	} {
		require.Equal(t, want, public.reaches(false, netip.MustParseAddr(address), "80"), address)
	}
	require.False(t, list("none").reaches(false, netip.MustParseAddr("8.8.8.8"), "80"))
	require.Nil(t, list())
}

// TestFetchAllow lets a module try its ways around the list.
func TestFetchAllow(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("secret"))
	}))
	defer inside.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("other")) }))
	defer other.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside.URL, "http://"))
	require.NoError(t, err)

	try := func(allow []string, url string) any {
		t.Helper()
		h := testHost(t, HostOptions{FetchAllow: allow})
		return runModule(t, h, `return ctx.task('t', async () => {
			try { return await (await fetch('`+url+`')).text(); } catch (e) { return e.code; }
		});`).result()
	}
	const refused = "FETCH_NOT_ALLOWED"
	require.Equal(t, "secret", try(nil, inside.URL))
	require.Equal(t, "secret", try([]string{"127.0.0.1"}, inside.URL))
	require.Equal(t, "secret", try([]string{"localhost:" + port}, "http://localhost:"+port))
	for _, allow := range [][]string{{"public"}, {"none"}, {"example.com"}, {"127.0.0.1:1"}, {"localhost:1"}, {"10.0.0.0/8", "public"}} {
		require.Equal(t, refused, try(allow, inside.URL), allow)
		require.Equal(t, refused, try(allow, "http://localhost:"+port), allow)
	}
	for _, url := range []string{"http://2130706433:" + port, "http://0x7f.1:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0:" + port} {
		require.NotEqual(t, "secret", try([]string{"public"}, url), url)
	}
	// A redirect is held to the list as the first request is.
	_, otherPort, err := net.SplitHostPort(strings.TrimPrefix(other.URL, "http://"))
	require.NoError(t, err)
	require.Equal(t, "other", try(nil, inside.URL+"/?to="+other.URL))
	require.Equal(t, refused, try([]string{"127.0.0.1:" + port}, inside.URL+"/?to="+other.URL))
	require.Equal(t, "other", try([]string{"127.0.0.1:" + port, "127.0.0.1:" + otherPort}, inside.URL+"/?to="+other.URL))
}

// FuzzFetchList: whatever is allowed by an entry, link-local addresses never are unless
// they are named as addresses.
func FuzzFetchList(f *testing.F) {
	for _, s := range []string{"public", "example.com:1", "*.a", "10.0.0.0/8", "[::1]:80", "1.2.3.4:5", "a.b.c", "*.", "[", "::ffff:1.2.3.4"} {
		f.Add(s, "169.254.169.254")
	}
	f.Fuzz(func(t *testing.T, entry, address string) {
		l, err := parseFetchAllow([]string{entry})
		ip, bad := netip.ParseAddr(address)
		if err != nil || bad != nil {
			return
		}
		named := l.named("x.example.com", "80")
		if ip.Unmap().IsLinkLocalUnicast() && len(l.nets) == 0 && l.reaches(named, ip, "80") {
			t.Fatalf("%q allows %s", entry, ip)
		}
		if isPublic(ip.Unmap()) && (ip.Unmap().IsLoopback() || ip.Unmap().IsPrivate()) {
			t.Fatalf("%s counts as public", ip)
		}
	})
}
