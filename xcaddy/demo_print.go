package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// eventStyles give a kind of event its colour; the prefix before the first dot
// decides for those not named.
var eventStyles = map[string]string{
	"node.pending": dim, "node.started": blue, "node.finished": green, "node.failed": red, "node.retrying": yellow,
	"node.waiting_approval": purple, "node.waiting_timer": purple, "approval": purple, "task": dim, "run": bold,
}

// eventLine prints an event on one line: number, name, node, what is worth knowing.
func eventLine(c *console, e *client.RunEvent, missed bool) string {
	style, ok := eventStyles[e.Event]
	if !ok {
		kind, _, _ := strings.Cut(e.Event, ".")
		style = eventStyles[kind]
	}
	mark := " "
	if missed {
		mark = c.paint(yellow, "↺")
	}
	name := fmt.Sprintf("%-22s", e.Event)
	if style != "" {
		name = c.paint(style, name)
	}
	return strings.TrimRight(fmt.Sprintf("  %s %s %s %s", mark, c.paint(dim, fmt.Sprintf("#%-3d", e.Seq)), name, eventDetail(e)), " ")
}

// eventDetail picks what a reader wants to know of a payload.
func eventDetail(e *client.RunEvent) string {
	var p struct {
		NodeID    string
		Iteration int
		Attempt   int
		Output    string
		Status    string
		Approved  *bool
		Error     *struct{ Message string }
	}
	if json.Unmarshal(e.Payload, &p) != nil {
		return ""
	}
	var parts []string
	if p.Iteration > 0 {
		parts = append(parts, fmt.Sprintf("iteration %d", p.Iteration))
	}
	if p.Attempt > 1 && strings.HasPrefix(e.Event, "node.") {
		parts = append(parts, fmt.Sprintf("attempt %d", p.Attempt))
	}
	if p.Approved != nil {
		parts = append(parts, map[bool]string{true: "approved", false: "denied"}[*p.Approved])
	}
	parts = append(parts, p.Status, strings.TrimSpace(p.Output))
	if p.Error != nil {
		parts = append(parts, p.Error.Message)
	}
	rest := strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
	if p.NodeID == "" {
		return clip(rest, 80)
	}
	return fmt.Sprintf("%-12s %s", p.NodeID, clip(rest, 70))
}

// clip shortens a text to width runes.
func clip(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
