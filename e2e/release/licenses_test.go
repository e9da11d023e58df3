package release

import (
	"debug/buildinfo"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var licenseHeading = regexp.MustCompile(`(?m)^={80}\n(\S+(?: v\S+)?)\n\n--- \S+\n\n\S`)

// checkLicenses: the licences of Go and of every module that the binary names, once
// each and sorted, and known texts among them.
func checkLicenses(t *testing.T, text, binary string) {
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	want := []string{info.GoVersion}
	for _, d := range info.Deps {
		want = append(want, d.Path+" "+d.Version)
	}
	require.True(t, slices.IsSorted(want[1:]))
	var got []string
	for _, m := range licenseHeading.FindAllStringSubmatch(text, -1) {
		got = append(got, m[1])
	}
	require.Equal(t, want, got)
	for _, known := range []string{"Apache License", "Fabrice Bellard", "public domain", "--- NOTICE\n", "The Go Authors"} {
		require.Contains(t, text, known)
	}
}
