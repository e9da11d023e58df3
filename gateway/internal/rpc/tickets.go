package rpc

import (
	"context"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of documents.
const (
	kindTicket     = "ticket"
	maxDocPath     = 1_024
	maxDocs        = 10_000
	defaultDocs    = 4_096
	maxDocsShown   = 32 << 20 // bytes of content in one answer
	maxKindLength  = 64
	maxStatusChars = 256
)

func ticketRow(d *store.Doc) wire.TicketRow {
	return wire.TicketRow{Path: d.Path, Kind: d.Kind, Content: d.Content, ContentHash: d.ContentHash,
		Status: optional(d.Status), UpdatedAtMs: d.UpdatedAtMs}
}

func ticketNotFound(path string) error {
	return wire.Errorf(wire.CodeNotFound, "Ticket not found: %s", path)
}

func (r *Router) listTickets(ctx context.Context, _ *Call, p params) (any, error) {
	docs, err := r.docs(ctx, store.DocFilter{Kind: p.str("kind"), Limit: maxDocs})
	rows := []wire.TicketRow{}
	for _, d := range docs {
		rows = append(rows, ticketRow(d))
	}
	return rows, err
}

// docs reads documents until their contents fill an answer.
func (r *Router) docs(ctx context.Context, f store.DocFilter) (docs []*store.Doc, err error) {
	err = r.deps.Store.View(ctx, func(v *store.View) (err error) {
		docs, err = v.Docs(f)
		return err
	})
	size := 0
	for i, d := range docs {
		if size += len(d.Content); size > maxDocsShown && i > 0 {
			return docs[:i], err
		}
	}
	return docs, err
}

// ticketPath reads the required path of the methods that write.
func (p params) ticketPath() (string, *wire.Error) {
	path := p.str("path")
	switch {
	case path == "":
		return "", wire.Errorf(wire.CodeInvalidRequest, "path is required")
	case len(path) > maxDocPath:
		return "", wire.Errorf(wire.CodeInvalidRequest, "path must be at most %d bytes", maxDocPath)
	case len(p.str("kind")) > maxKindLength || len(p.str("status")) > maxStatusChars:
		return "", wire.Errorf(wire.CodeInvalidRequest, "kind or status is too long")
	}
	return path, nil
}

// createTicket stores a ticket, in place of one that is or was at its path.
func (r *Router) createTicket(ctx context.Context, c *Call, p params) (any, error) {
	path, werr := p.ticketPath()
	if werr != nil {
		return nil, werr
	}
	content, ok := p.text("content")
	if !ok {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "content is required")
	}
	return r.putTicket(ctx, c, "ticket.create", path, func(d *store.Doc, _ bool) error {
		if kind := p.str("kind"); kind != "" {
			d.Kind = kind
		} else if d.Kind == "" {
			d.Kind = kindTicket
		}
		d.Content, d.Status = content, p.str("status")
		return nil
	})
}

func (r *Router) updateTicket(ctx context.Context, c *Call, p params) (any, error) {
	path, werr := p.ticketPath()
	if werr != nil {
		return nil, werr
	}
	return r.putTicket(ctx, c, "ticket.update", path, func(d *store.Doc, exists bool) error {
		if !exists {
			return ticketNotFound(path)
		}
		if content, ok := p.text("content"); ok {
			d.Content = content
		}
		if status, ok := p.text("status"); ok {
			d.Status = status
		}
		return nil
	})
}

// putTicket changes the ticket at path, or a new one, in one unit.
func (r *Router) putTicket(ctx context.Context, c *Call, action, path string, change func(d *store.Doc, exists bool) error) (any, error) {
	var row wire.TicketRow
	err := r.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Doc(path)
		exists := err == nil && d.DeletedAtMs == 0
		if errors.Is(err, store.ErrNotFound) {
			d = &store.Doc{Path: path}
		} else if err != nil {
			return err
		}
		now := r.now().UnixMilli()
		if d.CreatedAtMs == 0 {
			d.CreatedAtMs = now
		}
		if err := change(d, exists); err != nil {
			return err
		}
		d.ContentHash, d.UpdatedAtMs, d.DeletedAtMs = sha256Hex(d.Content), now, 0
		row = ticketRow(d)
		if err := tx.PutDoc(d); err != nil {
			return err
		}
		return r.note(tx, c, action, "", map[string]string{"path": path})
	})
	return row, err
}

// deleteTicket leaves a tombstone, which listDocs shows on demand.
func (r *Router) deleteTicket(ctx context.Context, c *Call, p params) (any, error) {
	path, werr := p.ticketPath()
	if werr != nil {
		return nil, werr
	}
	err := r.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Doc(path)
		if errors.Is(err, store.ErrNotFound) || err == nil && d.DeletedAtMs != 0 {
			return ticketNotFound(path)
		} else if err != nil {
			return err
		}
		d.UpdatedAtMs = r.now().UnixMilli()
		d.DeletedAtMs = d.UpdatedAtMs
		if err := tx.PutDoc(d); err != nil {
			return err
		}
		return r.note(tx, c, "ticket.delete", "", map[string]string{"path": path})
	})
	return wire.TicketDeleted{Path: path, Deleted: true}, err
}
