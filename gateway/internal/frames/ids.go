package frames

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Ids of elements are 31 bits of FNV-1a over the UTF-16 units of their path. A hash is
// carried from parent to child, so that no path is kept.
const (
	hashStart = uint32(0x811c9dc5)
	hashPrime = uint32(16777619)
	idMask    = 0x7fffffff
)

func hashText(h uint32, s string) uint32 {
	for _, r := range s {
		if r == utf8.RuneError || r < 0x10000 {
			h = (h ^ uint32(r)) * hashPrime
			continue
		}
		high, low := utf16.EncodeRune(r)
		h = (h ^ uint32(high)) * hashPrime
		h = (h ^ uint32(low)) * hashPrime
	}
	return h
}

// childHash is the hash of the path of a child with this fragment.
func childHash(parent uint32, fragment string) uint32 {
	return hashText((parent^'/')*hashPrime, fragment)
}

// freeID turns the hash of a path into an id that is not taken yet: on a collision a
// NUL and a salt 1, 2, … follow the path.
func freeID(h uint32, taken func(id int64) bool) int64 {
	id := int64(h & idMask)
	for salt := 1; taken(id); salt++ {
		id = int64(hashText(h*hashPrime, strconv.Itoa(salt)) & idMask) // h ^ 0 is h
	}
	return id
}
