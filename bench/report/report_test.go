package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sample() *Result {
	r := &Result{Scenario: "fanout", Title: "Events of one run to many sockets", At: time.Unix(1_790_000_000, 0), Took: time.Minute, Rounds: 3, Commit: "abc"}
	for _, v := range []float64{30, 10, 20} {
		r.Add("gateway", "frames/s", "frames/s", v)
	}
	for _, v := range []float64{4, 5, 6} {
		r.Add("original", "frames/s", "frames/s", v)
	}
	return r
}

func TestGoals(t *testing.T) {
	r := sample()
	at := func(who string) [2]string { return [2]string{who, "frames/s"} }
	r.Ratio("at least", at("gateway"), at("original"), "×", true, 4)
	r.Ratio("at least too much", at("gateway"), at("original"), "×", true, 4.1)
	r.Ratio("at most", at("gateway"), at("original"), "%", false, 400)
	r.Ratio("nobody", at("gateway"), at("centrifuge"), "×", true, 2)
	r.Value("value", "gateway", "frames/s", "frames/s", false, 19)
	r.Holds("holds", true)
	r.Holds("does not", false)
	want := []bool{true, false, true, false, false, true, false}
	for i, g := range r.Goals {
		if g.Met() != want[i] {
			t.Errorf("%s: %+v", g.What, g)
		}
	}
	if r.Goals[0].Have != 4 || r.Goals[2].Have != 400 {
		t.Errorf("ratios of medians: %v, %v", r.Goals[0].Have, r.Goals[2].Have)
	}
	if !strings.Contains(r.Goals[3].Missing, "centrifuge") {
		t.Errorf("a goal without its peer: %+v", r.Goals[3])
	}
}

func TestFolderKeepsResultsOfOtherRuns(t *testing.T) {
	f := Folder(filepath.Join(t.TempDir(), "results"))
	a, b := sample(), sample()
	b.Scenario = "replay"
	for _, r := range []*Result{a, b} {
		if err := f.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	a.Error = "later"
	if err := f.Save(a); err != nil {
		t.Fatal(err)
	}
	all, err := f.Load([]string{"replay", "missing", "fanout"})
	if err != nil || len(all) != 2 || all[0].Scenario != "replay" || all[1].Error != "later" {
		t.Fatalf("%v %v", all, err)
	}
	if got := all[0].Find("gateway", "frames/s").Median(); got != 20 {
		t.Errorf("a median of %v", got)
	}
	if err := f.Clear(); err != nil {
		t.Fatal(err)
	}
	if all, err = f.Load([]string{"fanout"}); err != nil || len(all) != 0 {
		t.Errorf("after clearing: %v %v", all, err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Holds("nothing lost", true)
	r.Error = "a socket | closed\nearly"
	r.Plots = []Plot{{File: "fanout", Title: "Fan-out", Series: []Series{{Name: "gateway", Points: [][2]float64{{1, 2}}}}}}
	if err := Write(dir, [][2]string{{"machine", "small"}}, []*Result{r}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- machine: small\n", "| [fanout](#fanout) | nothing lost | yes | yes | yes |", `a socket \| closed early`,
		"| gateway | frames/s | 20 frames/s | 10 – 30 | 3 |", "1 of 1 goals are met. Scenarios that failed: 1;", "![Fan-out](plots/fanout.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "plots", "fanout.svg")); err != nil {
		t.Error(err)
	}
}

func TestCapacity(t *testing.T) {
	r := sample()
	r.Add("gateway", "server CPU per million frames, 64 sockets", "s", 0.5)
	var b strings.Builder
	capacity(&b, []*Result{r})
	if want := "| frames a second and core, 64 sockets | 2,000,000 | 0.5 s of CPU a million |"; !strings.Contains(b.String(), want) {
		t.Errorf("%q is missing in\n%s", want, b.String())
	}
	b.Reset()
	if capacity(&b, []*Result{sample()}); b.Len() > 0 {
		t.Errorf("without figures: %s", b.String())
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 2.504: "2.5", 0.018: "0.02", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567.8: "1,234,568", 999.6: "1000",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is %q, not %q", v, got, want)
		}
	}
}
