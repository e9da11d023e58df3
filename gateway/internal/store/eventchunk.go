package store

// EventChunk is a piece of a run's pushed events, in order, in little memory: a long history
// is read into fresh memory, whose first touch costs as much as the reading. An event takes
// the bytes of its payload and 32 more. Safe for concurrent use once nothing is added any
// more; a nil chunk is empty.
type EventChunk struct {
	runID  string
	system bool
	limit  int

	rows   []chunkRow
	names  []string // of the events, each once
	blocks [][]byte // of payloads
	bytes  int64
}

// chunkRow is an event. It has no pointers, so that the collector does not look at it.
type chunkRow struct {
	seq, stateVersion int64
	block, from, size uint32 // of the payload
	name              uint32
}

const (
	chunkRowBytes = 32
	firstRows     = 64       // room that a chunk begins with; many are short
	firstBlock    = 2 << 10  // bytes of payloads that share an allocation, at first …
	mostBlock     = 32 << 10 // … and at most, unless one is longer
)

// NewEventChunk makes an empty chunk of a run, with room for at most limit events.
func NewEventChunk(runID string, system bool, limit int) *EventChunk {
	return &EventChunk{runID: runID, system: system, limit: limit}
}

// Add appends an event. Name and payload are copied.
func (k *EventChunk) Add(seq, stateVersion int64, name, payload []byte) {
	if len(k.rows) == cap(k.rows) {
		k.grow()
	}
	row := chunkRow{seq: seq, stateVersion: stateVersion, name: k.name(name), size: uint32(len(payload))}
	row.block, row.from = k.copy(payload)
	k.rows = append(k.rows, row)
	k.bytes += chunkRowBytes + int64(len(payload))
}

func (k *EventChunk) grow() {
	room := firstRows
	if len(k.rows) > 0 {
		room = 8 * len(k.rows)
	}
	k.rows = append(make([]chunkRow, 0, max(min(room, k.limit), len(k.rows)+1)), k.rows...)
}

// name finds the name of an event, which most of a history share.
func (k *EventChunk) name(b []byte) uint32 {
	if n := len(k.rows); n > 0 {
		if last := k.rows[n-1].name; string(b) == k.names[last] {
			return last
		}
	}
	for i, name := range k.names {
		if string(b) == name {
			return uint32(i)
		}
	}
	k.names = append(k.names, string(b))
	return uint32(len(k.names) - 1)
}

func (k *EventChunk) copy(b []byte) (block, from uint32) {
	last := len(k.blocks) - 1
	if last < 0 || len(b) > cap(k.blocks[last])-len(k.blocks[last]) {
		room := firstBlock
		if last >= 0 {
			room = min(2*cap(k.blocks[last]), mostBlock)
		}
		k.blocks = append(k.blocks, make([]byte, 0, max(len(b), room)))
		last++
	}
	at := len(k.blocks[last])
	k.blocks[last] = append(k.blocks[last], b...)
	return uint32(last), uint32(at)
}

// Len is the number of events.
func (k *EventChunk) Len() int {
	if k == nil {
		return 0
	}
	return len(k.rows)
}

// Bytes is the memory that the events take.
func (k *EventChunk) Bytes() int64 {
	if k == nil {
		return 0
	}
	return k.bytes
}

// Seq is the number of event i.
func (k *EventChunk) Seq(i int) int64 { return k.rows[i].seq }

// Event makes event i, without LogSeq, Type, Detail and AtMs, which no stream tells. The
// payload is the chunk's own and must not be changed.
func (k *EventChunk) Event(i int, ev *Event) {
	row := &k.rows[i]
	*ev = Event{RunID: k.runID, System: k.system, Seq: row.seq, StateVersion: row.stateVersion, Name: k.names[row.name]}
	end := row.from + row.size
	ev.Payload = k.blocks[row.block][row.from:end:end]
}
