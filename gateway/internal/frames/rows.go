package frames

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// ErrTooLarge is returned for rows that are too much for one answer.
var ErrTooLarge = errors.New("frames: the rows are too large for one answer")

// maxRowsBytes bounds the rows of one answer.
const maxRowsBytes = 32 << 20

// Snapshot returns the tree of a frame; nil means the newest one, or the empty tree of a
// run that has none. Frame 0 of a run with frames, and one beyond the newest, is a
// *FrameError. store.ErrNotFound if there is no such run.
func (s *Service) Snapshot(ctx context.Context, runID string, frameNo *int64) (out *wire.DevToolsSnapshot, err error) {
	err = s.with(ctx, runID, func(h *history, src *source) error {
		n := h.latest()
		if frameNo != nil {
			n = *frameNo
		}
		if n < 0 || n > h.latest() || n == 0 && h.latest() > 0 {
			return &FrameError{FrameNo: n, Latest: h.latest()}
		}
		f, err := h.at(src, n)
		if err != nil {
			return err
		}
		out, err = s.snapshot(h, f, src)
		return err
	})
	return out, err
}

// Row returns one frame as a row; nil means the newest one. A *FrameError if there is
// none, store.ErrNotFound if there is no such run.
func (s *Service) Row(ctx context.Context, runID string, frameNo *int64) (out *wire.FrameRow, err error) {
	err = s.with(ctx, runID, func(h *history, src *source) error {
		n := h.latest()
		if frameNo != nil {
			n = *frameNo
		}
		if n < 1 || n > h.latest() {
			return &FrameError{FrameNo: n, Latest: h.latest()}
		}
		f, err := h.at(src, n)
		if err != nil {
			return err
		}
		out, err = f.row(runID)
		return err
	})
	return out, err
}

// Rows returns the newest frames above after, at most limit, newest first. ErrTooLarge
// if they are too much for one answer, store.ErrNotFound if there is no such run.
func (s *Service) Rows(ctx context.Context, runID string, after int64, limit int) (rows []wire.FrameRow, err error) {
	err = s.with(ctx, runID, func(h *history, src *source) error {
		rows = []wire.FrameRow{}
		from := max(after, h.latest()-int64(limit)) + 1
		if from > h.latest() {
			return nil
		}
		f, err := h.at(src, from)
		if err != nil {
			return err
		}
		size := 0
		add := func() error {
			row, err := f.row(runID)
			if err != nil {
				return err
			}
			if size += len(row.XMLJSON) + len(row.MountedTaskIDsJSON) + len(row.TaskIndexJSON); size > maxRowsBytes {
				return ErrTooLarge
			}
			rows = append(rows, *row)
			return nil
		}
		if err := add(); err != nil {
			return err
		}
		if from < h.latest() {
			f = f.Clone()
			if err := h.replay(src, f, h.frames[h.latest()-1], add); err != nil {
				return err
			}
		}
		slices.Reverse(rows)
		return nil
	})
	return rows, err
}

// with is work for a request.
func (s *Service) with(ctx context.Context, runID string, do func(h *history, src *source) error) error {
	e, err := s.enter(runID)
	if err != nil {
		return err
	}
	err = s.work(ctx, e, do)
	s.leave(e, err == nil)
	return err
}

// row shows the frame as clients know rows of frames.
func (f *Fold) row(runID string) (*wire.FrameRow, error) {
	tree, err := encode(f.xml(0))
	if err != nil {
		return nil, err
	}
	mounted, index := []string{}, []indexed{}
	for i := range f.elems {
		if e := &f.elems[i]; e.state >= 0 && !e.gone {
			s := &f.states[e.state]
			mounted = append(mounted, s.key.String())
			index = append(index, indexed{NodeID: s.key.NodeID, Ordinal: len(index), Iteration: s.key.Iteration, Kind: f.task(s).Kind})
		}
	}
	mountedText, err := encode(mounted)
	if err != nil {
		return nil, err
	}
	indexText, err := encode(index)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(tree)
	row := &wire.FrameRow{RunID: runID, FrameNo: f.frame, CreatedAtMs: f.atMs, XMLJSON: string(tree), XMLHash: hex.EncodeToString(sum[:]),
		Encoding: wire.FrameDelta, MountedTaskIDsJSON: string(mountedText), TaskIndexJSON: string(indexText), Note: f.note}
	if f.frame%checkpointEvery == 1 {
		row.Encoding = wire.FrameKey
	}
	return row, nil
}

type indexed struct {
	NodeID    string `json:"nodeId"`
	Ordinal   int    `json:"ordinal"`
	Iteration int    `json:"iteration"`
	Kind      string `json:"kind"`
}

// xmlElement is an element of xmlJson, whose props are texts.
type xmlElement struct {
	Kind     string            `json:"kind"`
	Tag      string            `json:"tag"`
	Props    map[string]string `json:"props"`
	Children []xmlElement      `json:"children"`
}

func (f *Fold) xml(el int32) xmlElement {
	e := &f.elems[el]
	x := xmlElement{Kind: "element", Tag: tagPrefix + e.shape.tag, Props: map[string]string{}, Children: make([]xmlElement, 0, len(e.children))}
	var props map[string]json.RawMessage
	if json.Unmarshal(e.props, &props) == nil { // made by object
		for name, value := range props {
			text := string(value)
			if value[0] == '"' {
				_ = json.Unmarshal(value, &text)
			}
			x.Props[name] = text
		}
	}
	for _, child := range e.children {
		x.Children = append(x.Children, f.xml(child))
	}
	return x
}
