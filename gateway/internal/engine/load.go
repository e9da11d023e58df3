package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// load reads the run. False means that there is nothing to do here.
func (r *run) load() bool {
	if r.fresh != nil { // launched a moment ago: nothing to read
		r.row = r.fresh
		r.know(nil)
		return true
	}
	var nodes []*store.Node
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := r.e.store.View(context.Background(), func(v *store.View) error {
			row, err := v.Run(r.id)
			if err != nil {
				return err
			}
			r.row = row
			nodes, err = v.Nodes(r.id)
			return err
		})
		if err == nil {
			break
		}
		if errors.Is(err, store.ErrNotFound) {
			return false
		}
		r.log.Warn("the run cannot be read", zap.Error(err))
		if !r.sleep(wait) {
			return false
		}
	}
	if r.row.Upstream || wire.RunTerminal(r.row.Status) || r.row.Status == wire.RunPaused {
		return false
	}
	r.know(nodes)
	return true
}

// know fills the run's memory from its rows.
func (r *run) know(nodes []*store.Node) {
	r.generation, r.status, r.parent = r.row.Generation, r.row.Status, parentOf(r.row)
	r.pausing = r.row.PauseRequestedMs != 0
	r.limit = limitOf(r.row.Config, r.e.opts.MaxConcurrency)
	r.nodes = make(map[program.Key]*node, len(nodes))
	r.resets = nil
	r.byRef = make(map[int64]*node)
	if r.fresh != nil { // its first unit may be on its way already
		return
	}
	r.out.pos = r.row.LastPosition
	for _, row := range nodes {
		r.adopt(row)
	}
	r.pos = r.out.pos
}

// adopt takes a journal row into memory.
func (r *run) adopt(row *store.Node) {
	if isReset(row) {
		if r.resets == nil {
			r.resets = make(map[program.Key]*store.Node)
		}
		r.resets[program.Key{NodeID: row.NodeID, Iteration: row.Iteration}] = row
		r.ordinal = max(r.ordinal, row.Ordinal)
		return
	}
	n := &node{row: *row, key: program.Key{NodeID: row.NodeID, Iteration: row.Iteration}}
	if err := json.Unmarshal(row.Options, &n.opt); err != nil || !n.opt.valid(n.kind()) {
		r.log.Error("a node's options cannot be read", zap.String("node", n.name()), zap.Error(err))
	}
	var blocks []program.Block
	if len(row.Blocks) > 0 && json.Unmarshal(row.Blocks, &blocks) == nil {
		n.blocks = blockIDs(blocks)
	}
	r.nodes[n.key] = n
	r.ordinal = max(r.ordinal, row.Ordinal)
	r.out.pos = max(r.out.pos, row.Position)
	if !n.ended() {
		r.open = append(r.open, n)
	}
}

// sleep waits unless the engine ends.
func (r *run) sleep(d time.Duration) bool {
	woken := make(chan struct{})
	t := r.e.clock.AfterFunc(d, func() { close(woken) })
	defer t.Stop()
	for {
		select {
		case <-woken:
			return !r.stopping
		case <-r.e.killed:
			return false
		case <-r.box.notify:
			for _, msg := range r.box.take() { // only drain matters before the run is loaded
				msg()
			}
			if r.over || r.stopping {
				return false
			}
		}
	}
}

// limitOf reads a number of the configuration that launchConfig has made. Its own members
// come before what callers put into it, so that the first of a name is the one; decoding
// all of it was more work than the rest of loading a fresh run.
func limitOf(config json.RawMessage, standard int) int {
	_, rest, found := bytes.Cut(config, []byte(`"maxConcurrency":`))
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(string(rest[:digits]))
	if !found || err != nil || n == 0 {
		return standard
	}
	return n
}

// openNodes returns the unfinished nodes in order of request.
func (r *run) openNodes() []*node {
	if !slices.ContainsFunc(r.open, (*node).ended) {
		return r.open
	}
	// A copy: whoever walks an earlier result may call what calls this again.
	r.open = slices.DeleteFunc(slices.Clone(r.open), (*node).ended)
	return r.open
}
