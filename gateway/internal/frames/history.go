package frames

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// checkpointEvery is the least distance between checkpoints, in frames. Trees of more
// than 200 nodes have them further apart, so that all of them together cost no more
// than the fold itself.
const checkpointEvery = 50

// history is the fold of a run up to its newest frame, and what is needed to go back.
// It is not safe for concurrent use.
type history struct {
	ref      store.RunRef
	tip      *Fold
	frames   []int64 // frames[i] is the log seq of the event that made frame i+1
	archived []span  // of the log: what rewinds have left behind, in order
	read     int64   // log seq of the last event that was taken, -1 for none
	marks    []*Fold // checkpoints, oldest first; never changed
	rewinds  int64   // how often the log went back so far
}

// span is a range of log seqs: above after, not above until.
type span struct{ after, until int64 }

func newHistory(ref store.RunRef) *history {
	return &history{ref: ref, tip: New(ref.WorkflowName, nil), read: -1}
}

func (h *history) latest() int64 { return int64(len(h.frames)) }

// advance takes what has been logged since. each, which may be nil, is called after
// every frame, with tip at it, and after a rewind with made false.
func (h *history) advance(s *source, each func(made bool) error) error {
	defer func() { h.tip.rows = nil }() // of this view only
	return s.each(h.read, noEnd, func(ev *store.Event) (bool, error) {
		h.tip.rows = s.describe
		made, err := h.tip.Apply(ev)
		var jump *JumpError
		if errors.As(err, &jump) {
			if err := h.rewind(s, jump.To, ev.LogSeq); err != nil {
				return false, err
			}
		} else if err != nil {
			return false, err
		}
		h.read = ev.LogSeq
		if made {
			h.frames = append(h.frames, ev.LogSeq)
			if h.due(h.tip) {
				h.marks = append(h.marks, h.tip.Clone())
			}
		}
		if each != nil && (made || jump != nil) {
			return true, each(made)
		}
		return true, nil
	})
}

// due reports whether f is far enough from the checkpoint before it to be one.
func (h *history) due(f *Fold) bool {
	if f.frame%checkpointEvery != 0 {
		return false
	}
	last := int64(0)
	if m := h.before(f.frame); m != nil {
		last = m.frame
	}
	return f.frame-last >= max(checkpointEvery, int64(len(f.states))/4)
}

// before returns the last checkpoint not above frame n, nil for none.
func (h *history) before(n int64) *Fold {
	i := sort.Search(len(h.marks), func(i int) bool { return h.marks[i].frame > n })
	if i == 0 {
		return nil
	}
	return h.marks[i-1]
}

// rewind goes back to frame n, which an event of the log has done.
func (h *history) rewind(s *source, n, logSeq int64) error {
	if n < 0 || n > h.latest() {
		return fmt.Errorf("frames: event %d of run %s goes back to frame %d of %d", logSeq, s.runID, n, h.latest())
	}
	back, err := h.at(s, n)
	if err != nil {
		return err
	}
	if back == h.tip {
		back = h.tip.Clone() // only the past between the frame and the jump goes
	} else {
		back = back.Clone()
	}
	from := back.logSeq
	h.archived = slices.DeleteFunc(h.archived, func(sp span) bool { return sp.after >= from })
	h.archived = append(h.archived, span{after: from, until: logSeq})
	h.frames = h.frames[:n]
	h.marks = slices.DeleteFunc(h.marks, func(m *Fold) bool { return m.frame > n })
	h.tip = back
	h.rewinds++
	return nil
}

// lives reports whether an event belongs to the present, not to what a rewind has left
// behind.
func (h *history) lives(logSeq int64) bool {
	i := sort.Search(len(h.archived), func(i int) bool { return h.archived[i].until >= logSeq })
	return i == len(h.archived) || logSeq <= h.archived[i].after
}

// at returns the fold of frame n, between 0 and the latest. It must not be changed.
func (h *history) at(s *source, n int64) (*Fold, error) {
	if n == h.tip.frame {
		return h.tip, nil
	}
	f := h.before(n)
	if f == nil {
		f = New(h.ref.WorkflowName, nil)
	}
	if f.frame == n {
		return f, nil
	}
	f = f.Clone()
	err := h.replay(s, f, h.frames[n-1], func() error {
		if f.frame < n && h.due(f) {
			h.keep(f.Clone())
		}
		return nil
	})
	if err == nil && f.frame != n {
		err = fmt.Errorf("frames: run %s has no frame %d", s.runID, n)
	}
	return f, err
}

// replay takes f, which must be of the present, on to the event until and calls each
// after every frame.
func (h *history) replay(s *source, f *Fold, until int64, each func() error) error {
	return s.each(f.logSeq, until, func(ev *store.Event) (bool, error) {
		if !h.lives(ev.LogSeq) {
			return true, nil
		}
		f.rows = s.describe
		made, err := f.Apply(ev)
		if err == nil && made {
			err = each()
		}
		return true, err
	})
}

// keep enters a checkpoint that was dropped, or that nobody had needed yet.
func (h *history) keep(f *Fold) {
	i := sort.Search(len(h.marks), func(i int) bool { return h.marks[i].frame > f.frame })
	h.marks = slices.Insert(h.marks, i, f)
}

// size estimates the memory of the history, in bytes.
func (h *history) size() int64 {
	n := h.tip.Size() + 8*int64(cap(h.frames))
	for _, m := range h.marks {
		n += m.Size()
	}
	return n
}
