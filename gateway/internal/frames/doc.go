// Package frames derives what DevTools shows: the tree of a run after each change of
// its journal. Nothing is written for it. A frame is made by an event of the run's log
// (see Makes), so the log is all there is to derive from, and old frames show what was
// then.
//
// Frames are numbered from 1. A rewind to frame n is an event, too: the frames beyond n
// belong to an archived past from then on, and the next change makes frame n+1.
//
// Fold is the pure part: events in, tree, changes and cuts out. Service keeps folds of
// runs in memory, with checkpoints, within a budget of bytes, and feeds streams.
package frames
