//go:build !race

package jsmod

const raceEnabled = false
