package frames

import (
	"encoding/json"
	"testing"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// FuzzApply feeds a fold two events of any content: it takes them or says what is wrong,
// and what it then shows is sound and follows from the delta.
func FuzzApply(f *testing.F) {
	for _, typ := range types {
		f.Add(typ, `{"nodeId":"a","iteration":1,"attempt":2,"toFrameNo":0,"status":"paused","resetNodes":["a"]}`,
			`{"node":{"kind":"task","blocks":[{"kind":"loop","id":"lp#1","iteration":1},{"kind":"parallel","id":"p1"},{"kind":"branch","id":"p1.0"}]},"firesAtMs":5}`)
	}
	f.Add(wire.TypeNodePending, `{"nodeId":"\ud83d\ude80/#[1]","iteration":-1}`, `{"node":{"kind":"?","blocks":[{"kind":"branch","id":""},{"kind":"","id":"#"}]}}`)
	f.Add(wire.TypeNodePending, `[]`, `{"node":7}`)
	f.Fuzz(func(t *testing.T, typ, payload, detail string) {
		fold := New("main", nil)
		at := copyOf(t, fold.Tree())
		for i, typ := range []string{wire.TypeNodePending, typ, wire.TypeNodeStarted, wire.TypeTaskRetryRequested, typ} {
			ev := &store.Event{RunID: "r", LogSeq: int64(i), Type: typ, Payload: json.RawMessage(payload), Detail: json.RawMessage(detail)}
			before := fold.Frame()
			made, err := fold.Apply(ev)
			if err != nil || !made {
				if fold.Frame() != before {
					t.Fatalf("%s made a frame and said it did not: %v", typ, err)
				}
				continue
			}
			if at, err = ApplyDelta(at, fold.Delta()); err != nil {
				t.Fatal(err)
			}
			at = copyOf(t, at)
			requireSound(t, at)
			if want, got := tree(t, fold.Tree()), tree(t, at); want != got {
				t.Fatalf("the delta leads to %s, not to %s", got, want)
			}
		}
	})
}
