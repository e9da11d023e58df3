package frames

import "sync"

// Bounds of what is held for the streams of one run.
const (
	// MaxUndelivered is how many frames a stream may be behind the newest one.
	MaxUndelivered = 1000
	ringBytes      = 16 << 20
	// maxDeltas is after how many events that are not one a snapshot follows.
	maxDeltas = 49
	// envelope is about what a snapshot has around its tree, in bytes.
	envelope = 250
)

// feed holds the newest deltas of a run for its streams, which share the bytes.
type feed struct {
	mu      sync.Mutex
	cursors map[*Cursor]struct{}
	ended   error

	hist    *history // whose frames these are
	rewinds int64    // of it
	latest  int64
	ring    []delta // of the frames up to the latest
	held    int64   // bytes of the ring

	snapshot []byte // of the tip, as of the log seq read; nil: not made
	read     int64
	weight   int // bytes of the last snapshot that was made
}

type delta struct {
	event []byte
	big   bool // not smaller than a snapshot
}

// fresh is what one advance brings. A nil deltas list with want false means that
// nobody follows live.
type fresh struct {
	hist    *history
	want    bool
	rewound bool
	weight  int
	deltas  []delta
}

// collect prepares for an advance of h.
func (f *feed) collect(h *history) *fresh {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &fresh{hist: h, want: f.hist == h && len(f.cursors) > 0, weight: f.weight}
}

// take is called for every frame and every rewind of an advance.
func (fr *fresh) take(made bool) error {
	if !fr.want {
		return nil
	}
	if !made {
		fr.rewound, fr.deltas = true, nil
		return nil
	}
	event, err := encodeDelta(fr.hist.tip.Delta())
	if err != nil {
		return err
	}
	d := delta{event: event}
	if fr.weight > 0 && len(event) >= fr.weight {
		// The tree may have grown since its snapshot was weighed.
		tree, err := encode(fr.hist.tip.Tree())
		if err != nil {
			return err
		}
		fr.weight = len(tree) + envelope
		d.big = len(event) >= fr.weight
	}
	if len(fr.deltas) > MaxUndelivered { // those before are of use to nobody
		fr.deltas = append(fr.deltas[:0], fr.deltas[1:]...)
	}
	fr.deltas = append(fr.deltas, d)
	return nil
}

// publish makes the frames of an advance visible to streams and wakes them.
func (f *feed) publish(h *history, fr *fresh) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.hist != h || f.rewinds != h.rewinds || f.latest != h.latest()
	if f.hist != h || fr.rewound || !fr.want {
		f.ring, f.held = nil, 0
	}
	f.hist, f.rewinds, f.latest, f.weight = h, h.rewinds, h.latest(), max(f.weight, fr.weight)
	for _, d := range fr.deltas {
		f.ring = append(f.ring, d)
		f.held += int64(len(d.event))
	}
	drop := max(len(f.ring)-MaxUndelivered, 0)
	for _, d := range f.ring[:drop] {
		f.held -= int64(len(d.event))
	}
	for f.held > ringBytes {
		f.held -= int64(len(f.ring[drop].event))
		drop++
	}
	if drop > 0 {
		f.ring = append([]delta(nil), f.ring[drop:]...)
	}
	if f.read != h.read {
		f.snapshot = nil
	}
	f.read = h.read
	if !changed {
		return
	}
	for c := range f.cursors {
		if c.asleep {
			c.asleep = false
			c.wake()
		}
	}
}

// end ends all streams.
func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = err
	for c := range f.cursors {
		c.wake()
	}
}

func (f *feed) size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.held + int64(len(f.snapshot)) + 48*int64(len(f.ring))
	for c := range f.cursors {
		n += c.held
	}
	return n
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.cursors) > 0
}
