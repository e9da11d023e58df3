//go:build race

package jsmod

// raceEnabled guards tests that compute much: the engine is about forty times
// slower under the race detector.
const raceEnabled = true
