package documents

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/docs"
)

// envFirewall has the script that this program, started once more in a network of its own,
// runs there.
const envFirewall = "SMITHERS_TEST_FIREWALL"

// TestFirewall applies the rules of docs/operations.md in a network namespace of its own,
// and holds that the 257th connection of one address is refused and the others stay.
func TestFirewall(t *testing.T) {
	rules := docs.Tested(t, "docs/operations.md").Script()
	rig.Need(t, os.Getuid() == 0, "root")
	_, err := exec.LookPath("nft")
	rig.Need(t, err == nil, "nft, of the package nftables")
	if out, err := inNetwork("nft add table inet probe && nft add chain inet probe c '{ type filter hook input priority 0; }' &&" +
		"nft add rule inet probe c ct count over 1 reject"); err != nil {
		t.Skipf("skipped: the kernel of this machine does not count connections for nftables: %v\n%s", err, out)
	}
	out, err := inNetwork(rules + connect)
	require.NoError(t, err, out)
	require.Contains(t, out, "256 connections, then refused")
}

// connect is the word after which the script's process tries connections.
const connect = "\n# and then connect\n"

// inNetwork runs a script in a network of its own, whose loopback is up.
func inNetwork(script string) (string, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envFirewall+"="+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// insideFirewall is the program in that network.
func insideFirewall() int {
	if err := firewalled(os.Getenv(envFirewall)); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func firewalled(script string) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if out, err := exec.Command("bash", "-euc", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if !strings.HasSuffix(script, connect) {
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		return err
	}
	defer l.Close()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for n := range 300 {
		c, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute)
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
				fmt.Println(n, "connections, then refused")
				return nil
			}
			return err
		}
		open = append(open, c)
	}
	return errors.New("300 connections of one address, and none refused")
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
