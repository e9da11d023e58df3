package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// issuer is a key source that the test changes.
type issuer struct {
	raw   atomic.Pointer[[]byte]
	fail  atomic.Bool
	reads atomic.Int32
}

func (i *issuer) set(raw []byte) { i.raw.Store(&raw) }

func (i *issuer) source() KeySource {
	return KeySource{Every: 5 * time.Minute, AtMost: 30 * time.Second, Read: func(context.Context) ([]byte, error) {
		i.reads.Add(1)
		if i.fail.Load() {
			return nil, errors.New("away")
		}
		return *i.raw.Load(), nil
	}}
}

func keyAuth(k *KeySet) *JWTAuth {
	a := jwtAuth(JWTOptions{Keys: k, Algorithms: []string{AlgRS256, AlgES256}})
	return a
}

func TestKeysOfAnIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		i.set(document(t, "rsa", "ec", "small", "p384"))
		changes := 0
		k := OpenKeySet(i.source(), nil, func() { changes++ })
		defer k.Close()
		a := keyAuth(k)
		login := func(token string) string {
			_, err := a.Authenticate(hostRequest("gw"), token)
			return message(err)
		}
		synctest.Wait()
		for _, name := range []string{"rsa", "ec"} {
			require.Empty(t, login(keys()[name].token(t, good())), name)
			nameless := keys()[name]
			nameless.kid = ""
			require.Empty(t, login(nameless.token(t, good())), "a token need not name its key")
			liar := keys()[name]
			liar.kid = map[string]string{"rsa": "ec", "ec": "rsa"}[name]
			require.Equal(t, "JWT signature verification failed", login(liar.token(t, good())))
		}
		require.Equal(t, "JWT signature verification failed", login(keys()["small"].token(t, good())), "1024 bits")
		require.Equal(t, "Unsupported JWT algorithm", login(keys()["p384"].token(t, good())))
		require.Equal(t, "JWT audience did not match", login(keys()["ec"].token(t, good(claims{"aud": "x"}))))

		// A public key is no secret.
		pub, err := json.Marshal(keys()["rsa"].public())
		require.NoError(t, err)
		require.Equal(t, "Unsupported JWT algorithm", login(hs256(pub, claims{"alg": "HS256", "kid": "rsa"}, good())))
		require.EqualValues(t, 1, changes)
	})
}

func TestKeysAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		i.set(document(t, "ec"))
		changes := 0
		k := OpenKeySet(i.source(), nil, func() { changes++ })
		defer k.Close()
		a := keyAuth(k)
		synctest.Wait()
		p, failure := a.Authenticate(hostRequest("gw"), keys()["ec"].token(t, good()))
		require.Nil(t, failure)

		i.set(document(t, "new"))
		fresh := keys()["new"].token(t, good())
		_, failure = a.Authenticate(hostRequest("gw"), fresh)
		require.NotNil(t, failure, "looks out of turn are bounded")
		require.EqualValues(t, 1, i.reads.Load())
		time.Sleep(30 * time.Second)
		_, failure = a.Authenticate(hostRequest("gw"), fresh)
		require.Nil(t, failure, "an unknown key calls for a look")
		for range 100 {
			_, failure = a.Authenticate(hostRequest("gw"), keys()["rsa"].token(t, good()))
			require.NotNil(t, failure)
		}
		require.LessOrEqual(t, i.reads.Load(), int32(3), "a hundred forged tokens cost nothing")
		synctest.Wait()
		require.EqualValues(t, 2, changes)
		require.Equal(t, "JWT signature verification failed", message(a.Recheck(p)), "its key was withdrawn")
	})
}

func TestIssuerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		i.fail.Store(true)
		k := OpenKeySet(i.source(), nil, nil)
		defer k.Close()
		a := keyAuth(k)
		token := keys()["ec"].token(t, good())
		synctest.Wait()
		_, failure := a.Authenticate(hostRequest("gw"), token)
		require.Equal(t, "JWT signature verification failed", message(failure), "without keys nobody gets in")
		require.Error(t, k.Err())

		i.fail.Store(false)
		i.set(document(t, "ec"))
		time.Sleep(30 * time.Second) // it is tried again soon
		synctest.Wait()
		require.NoError(t, k.Err())
		_, failure = a.Authenticate(hostRequest("gw"), token)
		require.Nil(t, failure)

		i.fail.Store(true)
		time.Sleep(time.Hour)
		_, failure = a.Authenticate(hostRequest("gw"), token)
		require.Nil(t, failure, "known keys stay good for a while")
		time.Sleep(24 * time.Hour)
		_, failure = a.Authenticate(hostRequest("gw"), token)
		require.NotNil(t, failure, "but not for ever")
	})
}

func TestFirstTokenWaitsForTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i issuer
		i.set(document(t, "ec"))
		from := i.source()
		read := from.Read
		from.Read = func(ctx context.Context) ([]byte, error) {
			time.Sleep(2 * time.Second)
			return read(ctx)
		}
		k := OpenKeySet(from, nil, nil)
		defer k.Close()
		_, failure := keyAuth(k).Authenticate(hostRequest("gw"), keys()["ec"].token(t, good()))
		require.Nil(t, failure)
	})
}

func TestKeyDocuments(t *testing.T) {
	for name, raw := range map[string]string{
		"not JSON": "nope", "a list": "[]", "empty": `{"keys":[]}`, "symmetric only": `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`,
		"for encryption": `{"keys":[` + encryptionKey(t) + `]}`, "only small": string(document(t, "small")), "large": string(make([]byte, maxKeySetBytes+1)),
	} {
		_, err := parseKeySet([]byte(raw))
		require.Error(t, err, name)
	}
	got, err := parseKeySet([]byte(`{"keys":[{"kty":"what"}, 7, ` + string(document(t, "ec")[len(`{"keys":[`):])))
	require.NoError(t, err, "keys that nobody knows are passed over")
	require.Len(t, got, 1)
}

func encryptionKey(t *testing.T) string {
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(document(t, "ec"), &set))
	set.Keys[0]["use"] = "enc"
	raw, err := json.Marshal(set.Keys[0])
	require.NoError(t, err)
	return string(raw)
}

func TestKeySources(t *testing.T) {
	for _, from := range []string{"http://id.example.com/keys", "ftp://x/keys", "https://", "://x"} {
		_, err := NewKeySource(from)
		require.Error(t, err, from)
	}

	path := filepath.Join(t.TempDir(), "keys.json")
	s, err := NewKeySource(path)
	require.NoError(t, err)
	_, err = s.Read(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, document(t, "ec"), 0o600))
	raw, err := s.Read(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, raw)
	raw, err = s.Read(t.Context())
	require.NoError(t, err)
	require.Nil(t, raw, "as it was")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	_, err = s.Read(t.Context())
	require.ErrorIs(t, err, errNoKeys)
	_, err = s.Read(t.Context())
	require.ErrorIs(t, err, errNoKeys, "it is looked at again")

	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(document(t, "ec"))
	}))
	defer server.Close()
	s, err = NewKeySource(server.URL)
	require.NoError(t, err, "http is good enough on this machine")
	raw, err = s.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, document(t, "ec"), raw)
	status = http.StatusTeapot
	_, err = s.Read(t.Context())
	require.ErrorContains(t, err, "418")
}

func TestRedirectsOfKeys(t *testing.T) {
	to := func(from, url string, hops int) error {
		next, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		first, err := http.NewRequest(http.MethodGet, from, nil)
		require.NoError(t, err)
		via := []*http.Request{first}
		for range hops {
			via = append(via, first)
		}
		return safeRedirect(next, via)
	}
	require.NoError(t, to("https://a", "https://b", 0))
	require.Error(t, to("https://a", "http://b", 0))
	require.Error(t, to("https://a", "https://b", 3))
}
