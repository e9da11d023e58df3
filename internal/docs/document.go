package docs

import (
	"regexp"
	"strings"
)

// Block is one fence of a document.
type Block struct {
	File string // path from the root of the repository, with slashes
	Line int    // of the opening fence, from 1
	Mark string // what the comment above it says
	Lang string
	Text string
}

// Document is a Markdown file.
type Document struct {
	Path     string
	Prose    string // without the fences
	Blocks   []Block
	Indented []int // first lines of blocks that are indented instead of fenced
}

var comment = regexp.MustCompile(`^<!-- (.+) -->$`)

// Parse reads a Markdown file. A fence that is never closed is a block without a language.
func Parse(path, text string) Document {
	d := Document{Path: path}
	var open *Block
	last := ""
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case open == nil && strings.HasPrefix(trimmed, "```"):
			open = &Block{File: path, Line: n + 1, Lang: strings.TrimPrefix(trimmed, "```")}
			if m := comment.FindStringSubmatch(last); m != nil {
				open.Mark = m[1]
			}
		case open != nil && trimmed == "```":
			d.Blocks = append(d.Blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		default:
			d.Prose += line + "\n"
			if strings.HasPrefix(line, "    ") && trimmed != "" && last == "" {
				d.Indented = append(d.Indented, n+1)
			}
		}
		last = trimmed
	}
	if open != nil {
		d.Blocks = append(d.Blocks, Block{File: path, Line: open.Line})
	}
	return d
}

// Site completes a Caddyfile that is only a part of a site.
func Site(text string) string {
	if strings.HasPrefix(text, "smithers") {
		return "http://localhost {\n" + text + "}\n"
	}
	return text
}
