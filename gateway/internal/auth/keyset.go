package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// Bounds of a key set.
const (
	maxKeySetBytes = 1 << 20
	maxKeys        = 64
	minRSABits     = 2048
	maxTries       = 8 // keys tried for a token that names none
	waitForKeys    = 5 * time.Second
)

// KeySet holds the public keys of a token issuer and keeps them current. A set that
// cannot be read denies every token; one that could be read before stays in force
// for maxStale. Safe for concurrent use.
type KeySet struct {
	source   KeySource
	log      *zap.Logger
	onChange func()
	now      func() time.Time

	mu      sync.Mutex
	keys    []publicKey
	readAt  time.Time // of keys
	triedAt time.Time
	err     error         // of the last try
	news    chan struct{} // closed and replaced after every try

	ask    chan struct{} // one token: somebody misses a key
	cancel context.CancelFunc
	done   chan struct{}
}

// KeySource reads a key set (RFC 7517) from somewhere.
type KeySource struct {
	// Read returns the document, or nil and no error when it is as it was.
	Read func(ctx context.Context) ([]byte, error)
	// Every is the time between two looks.
	Every time.Duration
	// AtMost bounds looks out of turn, which tokens with unknown keys call for.
	AtMost time.Duration
}

// maxStale is how long keys are trusted that could not be read again.
const maxStale = 24 * time.Hour

type publicKey struct {
	jose.JSONWebKey
	print string // thumbprint
}

// OpenKeySet begins to read keys. It does not wait for them: tokens do, for a while.
// OnChange, which may be nil, is called when the set of keys has changed; it must not
// call Close.
func OpenKeySet(source KeySource, logger *zap.Logger, onChange func()) *KeySet {
	if logger == nil {
		logger = zap.NewNop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &KeySet{source: source, log: logger, onChange: onChange, now: time.Now, news: make(chan struct{}),
		ask: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go k.run(ctx)
	return k
}

// Close ends the reading.
func (k *KeySet) Close() {
	k.cancel()
	<-k.done
}

// Err returns why the keys could not be read the last time, nil when they could.
func (k *KeySet) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func (k *KeySet) run(ctx context.Context) {
	defer close(k.done)
	next := time.NewTimer(k.source.Every)
	defer next.Stop()
	for {
		k.refresh(ctx)
		pause := k.source.Every
		if k.Err() != nil {
			pause = k.source.AtMost
		}
		next.Reset(pause)
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-k.ask:
			k.mu.Lock()
			pause := k.source.AtMost - k.now().Sub(k.triedAt)
			k.mu.Unlock()
			if pause > 0 {
				next.Reset(pause)
				select {
				case <-ctx.Done():
					return
				case <-next.C:
				}
			}
		}
	}
}

func (k *KeySet) refresh(ctx context.Context) {
	raw, err := k.source.Read(ctx)
	var keys []publicKey
	if err == nil && raw != nil {
		keys, err = parseKeySet(raw)
	}
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	before, known := k.err, fingerprints(k.keys)
	k.err, k.triedAt = err, k.now()
	switch {
	case err == nil:
		k.readAt = k.triedAt
		if raw != nil {
			k.keys = keys
		}
	case k.now().Sub(k.readAt) > maxStale:
		k.keys = nil
	}
	changed := fingerprints(k.keys) != known
	close(k.news)
	k.news = make(chan struct{})
	k.mu.Unlock()
	if err != nil && text(before) != err.Error() {
		k.log.Error("the keys of the token issuer cannot be read", zap.Error(err))
	} else if err == nil && before != nil {
		k.log.Info("the keys of the token issuer can be read again")
	}
	if changed && k.onChange != nil {
		k.onChange()
	}
}

func fingerprints(keys []publicKey) (all string) {
	for _, key := range keys {
		all += key.KeyID + " " + key.print + "\n"
	}
	return all
}

// holds reports whether the key is one of the set.
func (k *KeySet) holds(print string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.print == print {
			return true
		}
	}
	return false
}

// verify finds the key that made the signature, and looks for new keys once when
// none is there that could have.
func (k *KeySet) verify(ctx context.Context, jws *jose.JSONWebSignature, kid string, alg jose.SignatureAlgorithm) (print string, ok bool) {
	keys, news, may := k.candidates(kid, alg)
	if len(keys) == 0 && may {
		select {
		case k.ask <- struct{}{}:
		default:
		}
		timer := time.NewTimer(waitForKeys)
		defer timer.Stop()
		select {
		case <-news:
		case <-timer.C:
		case <-ctx.Done():
		}
		keys, _, _ = k.candidates(kid, alg)
	}
	for _, key := range keys[:min(len(keys), maxTries)] {
		if _, err := jws.Verify(key.Key); err == nil {
			return key.print, true
		}
	}
	return "", false
}

// candidates lists the keys that may have signed; may says whether a look for new
// ones is due so soon that waiting for it is worth while.
func (k *KeySet) candidates(kid string, alg jose.SignatureAlgorithm) (keys []publicKey, news <-chan struct{}, may bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if kid != "" && key.KeyID != kid || key.Algorithm != "" && key.Algorithm != string(alg) || !fits(key.Key, alg) {
			continue
		}
		keys = append(keys, key)
	}
	return keys, k.news, k.triedAt.IsZero() || k.now().Sub(k.triedAt) >= k.source.AtMost
}

func fits(key crypto.PublicKey, alg jose.SignatureAlgorithm) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256 && key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && key.Curve == elliptic.P256()
	}
	return false
}

var errNoKeys = errors.New("the key set holds no RSA key of 2048 bits or more and no P-256 key for signatures")

// parseKeySet reads the keys that can be used; others are passed over, as issuers
// publish keys for many purposes.
func parseKeySet(raw []byte) ([]publicKey, error) {
	if len(raw) > maxKeySetBytes {
		return nil, fmt.Errorf("the key set is larger than %d bytes", maxKeySetBytes)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("the key set is not valid JSON: %w", err)
	}
	var keys []publicKey
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(one) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if !fits(key.Key, jose.RS256) && !fits(key.Key, jose.ES256) {
			continue
		}
		print, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			continue
		}
		if keys = append(keys, publicKey{key, hex.EncodeToString(print)}); len(keys) > maxKeys {
			return nil, fmt.Errorf("the key set holds more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}
