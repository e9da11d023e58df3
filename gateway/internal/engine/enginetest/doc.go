// Package enginetest holds what tests of the engine share: a clock that moves only
// when told, a store that dies after a given commit, and a readable form of a run's
// event log. It does not import the engine, so that the engine's own tests can use it.
package enginetest
