package auth

import "crypto/sha256"

// keyHash is the SHA-256 of a token. Tokens are looked up and compared by it, so
// no comparison depends on how much of a guess was right.
type keyHash = [sha256.Size]byte
