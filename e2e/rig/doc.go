// Package rig starts the built gateway as a process of its own and watches it from
// outside, for the reliability tests below e2e. Everything the tests conclude comes
// from ledgers written here: what task bodies reported while they ran, and what
// clients were answered and sent.
package rig
