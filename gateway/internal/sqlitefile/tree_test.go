package sqlitefile

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

type row struct {
	a, b int64
	n    any
	text string
	blob []byte
}

// made makes a database whose table has these rows, and returns its file and the table.
func made(t testing.TB, pageSize int, rows []row) (file []byte, root uint32) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.Exec(fmt.Sprintf(`PRAGMA page_size = %d;
		CREATE TABLE rows (a INTEGER, b INTEGER, n INTEGER, text TEXT, blob BLOB, more, PRIMARY KEY (a, b)) WITHOUT ROWID;
		BEGIN`, pageSize))
	require.NoError(t, err)
	for _, r := range rows {
		_, err := db.Exec("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", r.a, r.b, r.n, r.text, r.blob, strings.Repeat("m", int(uint64(r.b)%50)))
		require.NoError(t, err)
	}
	_, err = db.Exec("COMMIT")
	require.NoError(t, err)
	require.NoError(t, db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = 'rows'").Scan(&root))
	require.NoError(t, db.Close())
	file, err = os.ReadFile(path)
	require.NoError(t, err)
	return file, root
}

// over is the table in a file.
func over(file []byte, pageSize int, root uint32) *Tree {
	last := make([]byte, pageSize)
	return &Tree{Root: root, Usable: pageSize, Pages: uint32(len(file) / pageSize), Columns: 5, Page: func(n uint32) ([]byte, error) {
		from := (int(n) - 1) * pageSize
		if n == 0 || from+pageSize > len(file) {
			return nil, fmt.Errorf("%w: there is no page %d", ErrFormat, n)
		}
		copy(last, file[from:]) // so that nothing is read from a page that is not valid any more
		return last, nil
	}}
}

// numbers of all sizes that the format has.
var numbers = []int64{0, 1, -1, 127, -128, 128, 32767, -32768, 1 << 22, -1 << 23, 1<<31 - 1, -1 << 31, 1 << 45, -1 << 47, 1<<63 - 1, -1 << 63}

// some are n rows in order, of all sizes around those where a row spills.
func some(n int) []row {
	rows := make([]row, n)
	for i := range rows {
		size := i * i * 31 % (1 + i%40*60)
		rows[i] = row{int64(i / 100), int64(i*3) - 50, numbers[i%len(numbers)], strings.Repeat("t", i%9), []byte(strings.Repeat("b", size))}
		if i%5 == 0 {
			rows[i].n = nil
		}
	}
	return rows
}

func TestFrom(t *testing.T) {
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		for _, count := range []int{0, 1, 5, 500} {
			rows := some(count)
			file, root := made(t, pageSize, rows)
			tree := over(file, pageSize, root)
			starts := []Key{first, {0, -1000}, {0, -50}, {3, 1 << 40}, {7, 0}, {1 << 40, 0}}
			for i := 0; i < count; i += 61 {
				starts = append(starts, Key{rows[i].a, rows[i].b}, Key{rows[i].a, rows[i].b + 1})
			}
			for _, from := range starts {
				want := rows
				for len(want) > 0 && (Key{want[0].a, want[0].b}).before(from) {
					want = want[1:]
				}
				require.NoError(t, tree.From(from, func(r *Row) bool {
					require.NotEmpty(t, want)
					require.Equal(t, Key{want[0].a, want[0].b}, r.key())
					require.Equal(t, want[0].n == nil, r.Null(2))
					if want[0].n != nil {
						require.Equal(t, want[0].n, r.Int(2))
					}
					require.Equal(t, want[0].text, string(r.Bytes(3)))
					require.Equal(t, string(want[0].blob), string(r.Bytes(4)))
					want = want[1:]
					return true
				}))
				require.Empty(t, want, "from %v of %d rows, pages of %d", from, count, pageSize)
			}
		}
	}
}

func TestFromStops(t *testing.T) {
	file, root := made(t, 512, some(300))
	tree := over(file, 512, root)
	for most := 1; most < 60; most++ { // in leaves, and in the pages above
		n := 0
		require.NoError(t, tree.From(first, func(*Row) bool { n++; return n < most }))
		require.Equal(t, most, n)
	}
}

func TestFromFails(t *testing.T) {
	file, root := made(t, 512, some(300))
	all := func(*Row) bool { return true }
	tree := over(file, 512, root)
	tree.Columns = 7
	require.ErrorIs(t, tree.From(first, all), ErrFormat, "the table has six")
	require.ErrorIs(t, over(file, 512, 1).From(first, all), ErrFormat, "it is of another kind")
	require.ErrorIs(t, over(file, 512, 0).From(first, all), ErrFormat)
	require.ErrorIs(t, over(file[:len(file)/2], 512, root).From(first, all), ErrFormat, "pages are missing")

	broken := errors.New("broken")
	tree = over(file, 512, root)
	read, reads := tree.Page, 0
	for fail := 1; fail < 100; fail++ {
		reads = 0
		tree.Page = func(n uint32) ([]byte, error) {
			if reads++; reads == fail {
				return nil, broken
			}
			return read(n)
		}
		require.ErrorIs(t, tree.From(first, all), broken)
	}
}

// FuzzFrom: whatever the pages hold, reading ends, in order and within them.
func FuzzFrom(f *testing.F) {
	file, root := made(f, 512, some(16))
	f.Add(file, root, int64(0), int64(0))
	f.Add(file, root, int64(0), int64(90))
	f.Add([]byte{}, uint32(1), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, file []byte, root uint32, a, b int64) {
		tree := over(file, 512, root)
		var last *Key
		err := tree.From(Key{a, b}, func(r *Row) bool {
			key := r.key()
			if last != nil && !last.before(key) {
				t.Fatalf("%v follows %v", key, *last)
			}
			last = &key
			for i := range tree.Columns {
				_, _, _ = r.Null(i), r.Int(i), r.Bytes(i)
			}
			return true
		})
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
	})
}
