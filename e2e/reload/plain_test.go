package reload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// TestConnectionsLostByAPlainSite reloads a site without the module, one reload after
// the other, under clients that dial for each request. What they lose, the web server
// loses by itself; docs/reliability.md says how.
func TestConnectionsLostByAPlainSite(t *testing.T) {
	s := rig.NewSite(t, "")
	config := func(n int) string {
		return fmt.Sprintf("{\n\tadmin unix/%s\n\tpersist_config off\n\tgrace_period 2s\n}\nhttp://127.0.0.1:%d {\n\trespond \"config %d\"\n}\n",
			s.AdminSocket(), s.Port, n)
	}
	p := s.Launch("run", "--config", s.Write("Caddyfile", config(0)))
	p.Wait("the site", func() bool { return p.Probe("/") == http.StatusOK })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	lost, answered := map[string]int{}, 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for ctx.Err() == nil {
				err := fetch(ctx, &c, p.Base)
				mu.Lock()
				switch {
				case err == nil:
					answered++
				case ctx.Err() != nil:
				case errors.Is(err, syscall.EADDRNOTAVAIL): // this machine has no port left to dial from
				case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
					lost["EOF"]++
				case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
					lost["reset"]++
				default:
					t.Errorf("another cause: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	const reloads = 100
	for n := range reloads {
		require.NoError(t, p.Load(config(n+1)))
	}
	cancel()
	wg.Wait()
	t.Logf("%d reloads: %d requests answered, %v lost", reloads, answered, lost)
	require.Positive(t, answered)
	require.Equal(t, http.StatusOK, p.Probe("/"))
}

func fetch(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/", nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
