package jsmod

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Report describes a loaded module for people: what it registers, where it may import
// from, how large it is.
func (m *Module) Report() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "module\t%s\n", m.Path)
	if root, err := FindRoot(m.Path); err == nil {
		fmt.Fprintf(w, "root\t%s\n", root)
	}
	fmt.Fprintf(w, "bundle\t%.1f KiB, sha256 %s\n", float64(len(m.Source))/1024, m.Hash)
	fmt.Fprintf(w, "workflows\t%d\n", len(m.Workflows))
	for i := range m.Workflows {
		fmt.Fprintf(w, "  %s\t%s\n", m.Workflows[i].Key, m.Workflows[i].summary())
	}
	for _, warning := range m.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", warning)
	}
	_ = w.Flush() // a strings.Builder does not fail
	return b.String()
}

// summary is a workflow's line in a report.
func (w *Workflow) summary() string {
	var parts []string
	if w.ReadableName != "" {
		parts = append(parts, w.ReadableName)
	}
	if w.Description != "" {
		parts = append(parts, w.Description)
	}
	if w.Schedule != "" {
		parts = append(parts, "schedule "+w.Schedule)
	}
	if hook := w.Webhook; hook != nil {
		text := "webhook"
		if hook.Signal != nil {
			text += " (signal " + hook.Signal.Name + ")"
		}
		if hook.Secret == "" {
			text += " WITHOUT A SECRET: every delivery is refused"
		}
		parts = append(parts, text)
	}
	if w.System {
		parts = append(parts, "system")
	}
	return strings.Join(parts, "; ")
}
