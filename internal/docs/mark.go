package docs

import (
	"fmt"
	"regexp"
)

// Mark is what the comment above a block says of it:
//
//	<!-- tested: FOLDER TEST [PART] -->
//	<!-- checked: FOLDER TEST [PART]; needs WHAT -->
//
// The test named takes the block out of the document and runs it. One that is checked
// cannot be run whole; the test holds as much of it as it can.
type Mark struct {
	Folder string // from the root of the repository
	Test   string // a function of the tests in Folder
	Part   string // tells the blocks of one test apart; may be ""
	Needs  string // "" of what is run whole
}

var mark = regexp.MustCompile(`^(tested|checked): ([a-z0-9/_-]+) (Test\w+)(?: ([a-z-]+))?(?:; needs (\S.*))?$`)

// ParseMark reads the text of a mark, without its brackets.
func ParseMark(text string) (Mark, error) {
	m := mark.FindStringSubmatch(text)
	if m == nil || (m[1] == "checked") != (m[5] != "") {
		return Mark{}, fmt.Errorf("mark %q: want tested: FOLDER TEST [PART], or checked: FOLDER TEST [PART]; needs WHAT", text)
	}
	return Mark{Folder: m[2], Test: m[3], Part: m[4], Needs: m[5]}, nil
}
