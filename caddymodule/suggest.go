package caddymodule

import (
	"fmt"
	"strings"
)

// unknownWord is the message for a word that no smithers block may contain.
func unknownWord(word string) string {
	allowed := allowedWords()
	guess := ""
	if best := nearest(word, allowed); best != "" {
		guess = fmt.Sprintf(" (did you mean %s?)", best)
	}
	return fmt.Sprintf("smithers: unknown setting %q%s; allowed are %s", word, guess, strings.Join(allowed, ", "))
}

// nearest is the candidate at most two edits away from word, "" if there is none.
func nearest(word string, candidates []string) string {
	best, distance := "", 3
	for _, candidate := range candidates {
		if n := editDistance(word, candidate); n < distance {
			best, distance = candidate, n
		}
	}
	return best
}

// editDistance is the number of bytes to insert, delete or replace to make a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
