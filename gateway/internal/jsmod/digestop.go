package jsmod

import (
	"crypto"
	_ "crypto/sha1" // the Web Crypto API knows SHA-1, for checks of old signatures
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"
)

// opDigest hashes base64 bytes: ("SHA-256", data) -> base64.
func opDigest(args []any) (any, error) {
	hashes := map[string]crypto.Hash{"SHA-1": crypto.SHA1, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}
	h, ok := hashes[strings.ToUpper(argText(args, 0))]
	if !ok {
		return nil, fmt.Errorf("crypto.subtle.digest: algorithm %q is not supported; use SHA-1, SHA-256, SHA-384 or SHA-512", argText(args, 0))
	}
	data, err := base64.StdEncoding.DecodeString(argText(args, 1))
	if err != nil {
		return nil, err
	}
	d := h.New()
	d.Write(data)
	return base64.StdEncoding.EncodeToString(d.Sum(nil)), nil
}
